"""Pages of the report: each one file, without scripts, that reads well on a screen and in print."""

STYLE = """
body{font:15px/1.4 system-ui,sans-serif;color:#222;background:#fff;margin:1.5em}
h1{font-size:1.25em;margin:0 0 .5em}
p{max-width:50em;margin:.6em 0}
table{border-collapse:collapse;border-top:2px solid #222;border-bottom:2px solid #222;margin:1em 0;font-size:.95em}
th,td{padding:.35em .6em;text-align:right;white-space:nowrap}
thead{border-bottom:1px solid #222}
tbody th{text-align:left;font-weight:500}
"""


def page(title: str, body: str, style: str = "") -> str:
    """Return a complete HTML page of `body`; `style` is added after the rules common to all pages."""
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{STYLE}{style}</style>\n<h1>{title}</h1>\n{body}\n</html>\n"
    )
