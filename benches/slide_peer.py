"""Reads tiles of a slide by openslide: 'tiles FILE COUNT' answers the seconds of each as JSON; 'rss ...' runs a program."""

import json
import resource
import subprocess
import sys
import time

import openslide

slides = {}


def tiles(file, count):
    slide = slides.setdefault(file, openslide.OpenSlide(file))
    side = int(slide.properties.get("openslide.level[0].tile-width", 256))
    across = slide.dimensions[0] // side
    # Another cache each time, or the second round would measure memory.
    slide.set_cache(openslide.OpenSlideCache(1 << 20))
    begun = time.perf_counter()
    for i in range(int(count)):
        slide.read_region((i % across * side, i // across * side), 0, (side, side))
    return {"seconds": (time.perf_counter() - begun) / int(count)}


def rss(*command):
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"bytes": peak * (1 if sys.platform == "darwin" else 1024), "seconds": time.perf_counter() - begun}


for line in sys.stdin:
    verb, *arguments = line.split()
    print(json.dumps({"tiles": tiles, "rss": rss}[verb](*arguments)), flush=True)
