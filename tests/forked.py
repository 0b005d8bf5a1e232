"""Programs in processes of their own, forked from the tests'.

A fresh Python needs five seconds to import what torch and matplotlib need to train and draw. A fork has it imported
already, but nothing of the project. It gets arguments, a folder, an environment and standard streams as any
other process does. How the programs start and end is tested with real processes too.
"""
import atexit
import contextlib
import importlib
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
import types
import warnings

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import torch._dynamo  # noqa: F401 (every optimizer imports it)

PROJECT = ("micrograd", "makemore", "gpt", "mixture", "exercises", "solutions")


def run_python(*arguments, cwd=".", input="", timeout=300):
    """Like `subprocess.run([sys.executable, *arguments], capture_output=True, text=True, ...)`.

    The first argument is a script, or "-c" and the second the code.
    """
    arguments = [str(argument) for argument in arguments]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(3)]
        files[0].write(input)
        files[0].seek(0)
        child = os.fork()
        if child == 0:
            signal.alarm(timeout)  # it ends the child
            for number, file in enumerate(files):
                os.dup2(file.fileno(), number)
            os._exit(run(arguments, cwd))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for file in files:
            file.seek(0)
        return subprocess.CompletedProcess(arguments, status, files[1].read(), files[2].read())


def run(arguments, cwd):
    """Run a program in this process, a child of the tests'; returns its exit status."""
    forget_the_tests()
    os.chdir(cwd)
    status = 0
    try:
        if arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            sys.path.insert(0, "")
            exec(compile(arguments[1], "<string>", "exec"), sys.modules["__main__"].__dict__)
        else:
            sys.argv = arguments
            sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status or 0


def forget_the_tests():
    """Give this process the standard streams, modules, warnings and signals of a fresh Python."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = open(number, mode, encoding="utf-8", closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    for name in list(sys.modules):
        if name.split(".")[0] in PROJECT:
            del sys.modules[name]
    sys.modules["__main__"] = types.ModuleType("__main__")
    importlib.reload(warnings)  # pytest collects them
    atexit._clear()
    signal.signal(signal.SIGINT, signal.default_int_handler)
