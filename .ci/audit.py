"""Known vulnerabilities of the lock file, by pip-audit; where the database cannot be reached that is said, and is no failure.

    python .ci/audit.py constraints.txt [--strict]

A vulnerability becomes known without a change of ours, so that only --strict fails by it.
"""

import json
import subprocess
import sys

LIMIT_S = 180


def main() -> int:
    """0 where nothing is known against any package, or nothing can be known here."""
    settings = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "5", "--format", "json")
    command = ["pip-audit", "-r", sys.argv[1], *settings]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        sys.stdout.write(f"not audited: no answer within {LIMIT_S} s\n")
        return 0
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        sys.stdout.write(f"not audited: {(done.stderr.strip().splitlines() or ['no answer'])[-1][:300]}\n")
        return 0
    known = [one for one in packages if "vulns" in one]
    wrong = [(one["name"], one["version"], flaw) for one in known for flaw in one["vulns"]]
    for name, version, flaw in wrong:
        fixed = f"mended in {', '.join(flaw['fix_versions'])}" if flaw["fix_versions"] else "not mended yet"
        sys.stdout.write(f"warning: {name} {version}: {flaw['id']}: {fixed}\n")
    sys.stdout.write(f"{len(known)} of {len(packages)} packages audited, {len(wrong)} known vulnerabilities\n")
    return 1 if wrong and "--strict" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
