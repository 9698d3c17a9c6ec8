"""Numbers first, ink second: what queries answer becomes one report, in several formats.

`report_data` holds the numbers, `words` says them, `captions` gives each chart its title and its table, `charts` draws
it, `html`, `picture` and `tabular` put it on paper. Only `report_generator` is for users; it loads the rest when used.
"""
