// Nuclei by a pixel classifier, computed by QuPath itself (0.4 or later).
//
// Works in the selected annotations, or in the whole image where none is selected. Touching nuclei
// come apart only if the network has a class for their border; the other script always splits them.

import qupath.lib.objects.PathObjects
import qupath.lib.roi.GeometryTools

// The classifier; name its new place here after moving the folder.
def classifier = @CLASSIFIER@
// Smaller interiors of nuclei are dropped, smaller holes filled, µm².
double minAreaUm2 = @MIN_AREA@
double minHoleUm2 = @MIN_HOLE@
// Width of the border class, by which the interiors are grown, µm; 0 without such a class.
double borderUm = @BORDER@

def calibration = getCurrentServer().getPixelCalibration()
if (!calibration.hasPixelSizeMicrons())
    throw new IllegalStateException("The image has no pixel size; set it in QuPath's tab 'Image'")

def before = new HashSet(getDetectionObjects())
createDetectionsFromPixelClassifier(classifier, minAreaUm2, minHoleUm2, 'SPLIT')
def found = getDetectionObjects().findAll { !before.contains(it) }

if (borderUm > 0) {
    double borderPx = borderUm / calibration.getAveragedPixelSizeMicrons()
    def grow = {
        def outline = it.getROI().getGeometry().buffer(borderPx)
        def roi = GeometryTools.geometryToROI(outline, it.getROI().getImagePlane())
        PathObjects.createDetectionObject(roi, it.getPathClass())
    }
    // Inside the annotation, if any, that they were found in.
    found.groupBy { it.getParent() }.each { parent, interiors ->
        parent.addChildObjects(interiors.collect(grow))
    }
    removeObjects(found, true)
    fireHierarchyUpdate()
}
println "${found.size()} nuclei"
