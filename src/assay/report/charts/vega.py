"""A process that draws: Vega-Lite specifications come in, one a line of JSON, SVGs go out, one a line of JSON. Run by `press`, by its path.

It imports nothing of Assay, so that it is ready while the runs are still read.
"""

import json
import sys


def main() -> None:
    """Draw until there is nothing more to come."""
    import vl_convert

    version = sys.argv[1]
    vl_convert.vegalite_to_svg(
        {"data": {"values": [{}]}, "mark": "point"}, vl_version=version
    )  # Vega starts here, and not with the first chart
    for line in sys.stdin.buffer:
        try:
            said = {"svg": vl_convert.vegalite_to_svg(json.loads(line), vl_version=version)}
        except ValueError as e:
            said = {"error": str(e)[:500]}
        sys.stdout.buffer.write(json.dumps(said).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
