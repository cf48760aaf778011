"""Runs what prunella is compared with: reads one command per line, writes one JSON object per line.

load NAME FILE THREADS      an ONNX file into onnxruntime
run NAME N C H W            one inference on noise of that shape; returns seconds
rss PROGRAM ARGUMENTS...    a program to its end; returns its peak memory in bytes and its seconds
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np
import onnxruntime

sessions, inputs = {}, {}


def load(name, file, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.inter_op_num_threads = 1
    sessions[name] = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return {"version": onnxruntime.__version__}


def run(name, *shape):
    shape = tuple(int(n) for n in shape)
    if (name, shape) not in inputs:
        inputs[name, shape] = np.random.default_rng(1).random(shape, dtype=np.float32)
    session = sessions[name]
    feed = {session.get_inputs()[0].name: inputs[name, shape]}
    started = time.perf_counter()
    session.run(None, feed)
    return {"seconds": time.perf_counter() - started}


def rss(*command):
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    scale = 1 if sys.platform == "darwin" else 1024
    return {"bytes": peak * scale, "seconds": time.perf_counter() - started}


for line in sys.stdin:
    verb, *arguments = line.split()
    result = {"load": load, "run": run, "rss": rss}[verb](*arguments)
    print(json.dumps(result), flush=True)
