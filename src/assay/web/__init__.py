"""Page furniture that the web rooms share. What needs the extra `label` (Starlette, uvicorn) is imported from its module when it is used.

| module | what it offers |
|---|---|
| `languages` | the interface languages, words as data files, direction of a script, what a browser prefers |
| `signin` | people with roles and languages, and their tokens: `TokenFile`, of which only digests are kept |
| `sessions` | `Sessions`: a link that opens once, and the cookies that came of it, with idle and longest limits |
| `answers` | `read_body`, `answer`, `said`, `file_answer`: JSON in and out, and a page's files |
| `guard` | `Guard`: allowed hosts, same-origin posts, security headers, around any ASGI application |
| `serving` | `listen` and `serve`: a socket, TLS where it is needed, a clean stop |
| `static/base.css` | colours, type and controls of the house |
"""
