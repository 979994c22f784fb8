#!/bin/sh
# Run Python with a Python that fits: `sh tools/python.sh -m MODULE [ARGUMENT...]`.
# Fits: it starts (a shim may be on PATH and fail), is 3.11 to 3.13, and can make environments.

unset PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE
probe='
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    print("Python %d.%d" % sys.version_info[:2])
    sys.exit()
try:
    import ensurepip, venv
except ImportError:
    print("no venv for Python %d.%d" % sys.version_info[:2])
else:
    print("fits")
'
seen=
IFS=:
for candidate in ${PYTHON:-python3:python3.13:python3.12:python3.11}; do
    found=$("$candidate" -c "$probe" 2>/dev/null </dev/null) || continue
    case $found in
        fits) unset IFS && exec "$candidate" -EsB "$@" ;;
        "no venv"*) seen="$found" ;;
        *) seen="${seen:-$found}" ;;
    esac
done

case $seen in
    "no venv"*)
        version=${seen##* }
        echo "setup: Python $version is here without its venv module:" \
            "install it (Debian, Ubuntu: sudo apt install python3-venv python$version-venv)" \
            "and try again." >&2 ;;
    Python*)
        echo "setup: $seen is here, and 3.11, 3.12 or 3.13 is needed:" \
            "install one (Ubuntu 22.04: sudo apt install python3.11-venv)," \
            "or name one with PYTHON=/path/to/python3.12." >&2 ;;
    *)
        echo "setup: ${PYTHON:-Python} cannot be run, and Python 3.11, 3.12 or 3.13 is needed:" \
            "install one (Debian, Ubuntu: sudo apt install python3 python3-venv)," \
            "or name one with PYTHON=/path/to/python3.12." >&2 ;;
esac
exit 1
