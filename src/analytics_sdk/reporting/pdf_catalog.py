"""What matplotlib does not say in a PDF's catalog: the language of its text, and that a window shows its title."""

import re


def describe_pdf(pdf: bytes, language: str) -> bytes:
    """The same PDF with an update at its end (ISO 32000-1, 7.5.6) that replaces its catalog.

    A reader needs the language to read the text aloud. A file of another form than expected stays as it is, because
    a report without a language is better than none.
    """
    trailer = re.search(rb"trailer\s*<<(.*)>>\s*startxref\s+(\d+)\s+%%EOF\s*\Z", pdf, re.DOTALL)
    root = re.search(rb"/Root (\d+) 0 R", trailer[1]) if trailer else None
    catalog = re.search(rb"(?:\A|\n)%s 0 obj\s*<<(.*?)>>\s*endobj" % root[1], pdf, re.DOTALL) if root else None
    if trailer is None or root is None or catalog is None:
        return pdf
    said = b"/Lang (%s) /ViewerPreferences << /DisplayDocTitle true >>" % language.encode("ascii")
    replaced = b"%s 0 obj\n<<%s %s >>\nendobj\n" % (root[1], catalog[1].rstrip(), said)
    place = len(pdf)
    table = b"xref\n%s 1\n%010d 00000 n \n" % (root[1], place)
    ending = b"trailer\n<<%s /Prev %s >>\nstartxref\n%d\n%%%%EOF\n" % (
        trailer[1].rstrip(),
        trailer[2],
        place + len(replaced),
    )
    return pdf + replaced + table + ending
