"""Openslide for comparison: reads one command per line, writes one JSON object per line.

tiles FILE COUNT SIDE       reads squares of a slide; returns seconds per square
rss PROGRAM ARGUMENTS...    runs a program to its end; returns peak memory in bytes, and seconds
"""

import json
import resource
import subprocess
import sys
import time

import openslide

slides = {}


def tiles(file, count, side):
    slide = slides.setdefault(file, openslide.OpenSlide(file))
    side = int(side)
    across = slide.dimensions[0] // side
    # An empty cache for each round, so that every round reads and decodes.
    slide.set_cache(openslide.OpenSlideCache(64 << 20))
    started = time.perf_counter()
    for i in range(int(count)):
        slide.read_region((i % across * side, i // across * side), 0, (side, side))
    return {"seconds": (time.perf_counter() - started) / int(count)}


def rss(*command):
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    scale = 1 if sys.platform == "darwin" else 1024
    return {"bytes": peak * scale, "seconds": time.perf_counter() - started}


for line in sys.stdin:
    verb, *arguments = line.split()
    print(json.dumps({"tiles": tiles, "rss": rss}[verb](*arguments)), flush=True)
