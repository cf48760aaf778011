"""Runs a pixel classifier as QuPath does, and writes the probabilities that it gets.

After QuPath's DefaultImageDataOp.apply, ServerTools.getPaddedRequest, DnnOp.transformPadded,
OpenCVTools.applyTiled and PaddedOp.apply. Usage: qupath.py CLASSIFIER IMAGE OUT
"""

import json
import sys
from urllib.parse import unquote, urlparse

import cv2
import numpy as np

classifier = json.load(open(sys.argv[1], encoding="utf-8"))
image = cv2.imread(sys.argv[2])[:, :, ::-1]
metadata, op = classifier["metadata"], classifier["op"]["op"]
network = cv2.dnn.readNetFromONNX(unquote(urlparse(op["model"]["pathModel"]).path))
height, width = image.shape[:2]
classes = len(metadata["classificationLabels"])
padding, side = op["padding"]["x1"], op["inputWidth"]
tile = metadata["inputWidth"] - 2 * metadata["inputPadding"]

result = np.zeros((height, width, classes), np.float32)
for top in range(0, height, tile):
    for left in range(0, width, tile):
        bottom, right = min(height, top + tile), min(width, left + tile)
        rows = np.clip(np.arange(top - padding, bottom + padding), 0, height - 1)
        columns = np.clip(np.arange(left - padding, right + padding), 0, width - 1)
        request = image[rows][:, columns].astype(np.float32) * np.float32(op["model"]["scale"])
        # A request smaller than a tile is mirrored around, and the result cut.
        above, before = (side - len(rows)) // 2, (side - len(columns)) // 2
        below, behind = side - len(rows) - above, side - len(columns) - before
        full = cv2.copyMakeBorder(request, above, below, before, behind, cv2.BORDER_REFLECT)
        network.setInput(cv2.dnn.blobFromImage(full))
        planes = network.forward()
        assert planes.shape == (1, classes, side, side), planes.shape
        pixels = planes[0].transpose(1, 2, 0)
        pixels = pixels[above : side - below, before : side - behind]
        result[top:bottom, left:right] = pixels[padding:-padding, padding:-padding]
result.astype("<f4").tofile(sys.argv[3])
