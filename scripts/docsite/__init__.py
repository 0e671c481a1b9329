"""The documentation site: gathers docs/ and the pages of the root, writes the reference from the code, and builds with Zensical.

python -m scripts.docsite              # into build/docs/html, warnings are errors
python -m scripts.docsite --serve      # the same, on this machine, again at every change
"""
