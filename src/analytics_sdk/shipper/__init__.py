"""The shipper: takes what journals hold to the sinks, each record exactly once.

merge     records of a stretch -> rows, pure
fold      records of a stretch -> rollup cells, pure
delivery  one journal into one sink, with what can go wrong
shipper   the background thread of a process
whole     the journal of a dead owner, to its end
once      `analytics-sdk ship`: all journals of a folder, from outside
"""
