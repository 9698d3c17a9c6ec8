"""Capture: what runs in the user's loop. Two clocks, a tuple, an append; whatever can be decided when decorating is.

context       what is open now: executions and steps, and which of them this task is inside
recorder      writes beginnings and endings to the journal; `active` is the process's own, `live` what it tells
healing       what a recovery heals
endings       how an ending becomes a status
selectors     ids, totals and verdicts picked out of a call's arguments and result
trackers      how the calls of one function begin and end; `wrapping` puts a tracker around a function
tracking      @track_workflow, @track_step, recovery_attempt: decorators and `with`; `recovery` has the attempts
patching      auto_instrument: the same around a class nobody may edit; `threads` carries the context on
resources     a thread that looks at CPU, memory and, by `gpus`, at GPUs
"""
