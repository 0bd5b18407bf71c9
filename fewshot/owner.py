"""Whose work it is: which process, and whether it still lives. What a killed process left can so be told and freed."""

import os
import socket

import psutil


def this_process() -> str:
    """host/pid/start: numbers of processes are used again, so that the start tells them apart."""
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.0f}"


def is_dead(owner: str) -> bool:
    """Whether a process is sure to be gone: it was on this machine, and its number is free or used by another."""
    host, _, process = owner.partition("/")
    number, _, started = process.partition("/")
    if host != socket.gethostname() or not (number.isdigit() and started.isdigit()):
        return False
    try:
        return bool(abs(psutil.Process(int(number)).create_time() - float(started)) > 2)
    except psutil.NoSuchProcess:
        return True
