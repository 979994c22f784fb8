#!/bin/sh
# Set up the environment unless it is ready: `sh tools/setup.sh run|dev [EXTRA...|--offered]`, from
# the project's folder. PYTHON chooses the interpreter; otherwise tools/python.sh finds one.
# --offered stands for pytorch where this machine offers a small build of it.

if [ -z "$PYTHON" ] && .venv/bin/python -EsSB -m tools.environment "$@" 2>/dev/null; then
    exit 0
fi
exec sh tools/python.sh -m tools.install "$@"
