"""Capture: what runs in the user's loop. Two clocks, a tuple, an append; whatever can be decided when decorating is.

context    what is open now: executions and steps, and which of them this task is inside
selectors  ids, totals and verdicts picked out of a call's arguments and result
endings    how an ending becomes a status
recorder   writes beginnings and endings to the journal, keeps the live state
tracking   @track_workflow, @track_step, recovery_attempt: decorators and `with`
patching   auto_instrument: the same around a class nobody may edit
resources  a thread that looks at CPU, memory and GPUs
"""
