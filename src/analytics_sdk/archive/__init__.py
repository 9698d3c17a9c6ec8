"""The archive: raw rows that are old enough leave the database for Parquet files, and stay readable.

    choosing   which rows may go, and in which portions
    parquet    one portion as a file: written, synced, read back and compared
    space      what is free then, given back to the disk
    lock       one archiver at a time
    archiver   a run: file, manifest and deletion, portion by portion
    retention  a run over every database of the settings
    compacting rollups of hours summed to days and weeks, which stand beside them
    keeper     the thread that compacts now and then, and archives where `retention_days` is set

What has been counted in rollups stays counted: hours are never touched. pyarrow is imported when a file is written.
"""
