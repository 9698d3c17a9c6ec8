"""The journal: what a process recorded, in memory-mapped files that survive it, until every sink has it.

- record: the format, byte by byte
- owner: one file a journal, locked for life: who lives, what was lost
- segment, quota, home, cleaning: one file of records, how much room there is, where we are, what can be kept
- writer: appends on the hot path, rotates, keeps to its quota
- reader: reads what others wrote, also when it is damaged
"""
