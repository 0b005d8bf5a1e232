"""Programs in processes of their own, forked from the tests'.

A fresh Python needs five seconds to import what torch and matplotlib need to train and draw. A fork has it
imported already; what the tests imported of the project is forgotten. It gets arguments, a folder and
standard streams as any other process does. How the programs start and end is tested with real processes too.
"""
import atexit
import gc
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
gc.freeze()  # the garbage collector need not look at what was imported again and again


class Child:
    """A program in a process of its own. The first argument is a script, or "-c" and the second the code."""

    def __init__(self, *arguments, cwd=".", input="", timeout=300):
        self.arguments = [str(argument) for argument in arguments]
        # stdin, stdout, stderr
        self.files = [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(3)]
        self.files[0].write(input)
        self.files[0].seek(0)
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                signal.alarm(timeout)  # it ends the child
                for number, file in enumerate(self.files):
                    os.dup2(file.fileno(), number)
                status = run(self.arguments, cwd)
            finally:
                os._exit(status)

    def has_ended(self):
        """Whether it has ended by itself; it can still be waited for."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def finish(self):
        """Wait for its end; what `subprocess.run` returns."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        for file in self.files:
            file.seek(0)
        _, stdout, stderr = [file.read() for file in self.files]
        for file in self.files:
            file.close()
        return subprocess.CompletedProcess(self.arguments, status, stdout, stderr)


def run_python(*arguments, **options):
    """Like `subprocess.run([sys.executable, *arguments], capture_output=True, text=True, ...)`."""
    return Child(*arguments, **options).finish()


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
        if isinstance(status, str):  # as Python does it
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        stream.flush()
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
