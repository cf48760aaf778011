// Nuclei of the current image by 'prunella segment', read back as detections (QuPath 0.4 or later).
//
// prunella works on the file, so its results are those of the command line: touching nuclei are
// split, stains that the model never saw are matched, and each nucleus has its measurements.

import qupath.lib.images.servers.TransformingImageServer

// The program, or its full path where it is not on the PATH.
def program = 'prunella'
// The model; name its new place here after moving the folder.
def model = @MODEL@
// Further arguments, as 'prunella segment --help' lists them.
def options = []

def server = getCurrentServer()
def files = server.getURIs()
if (server instanceof TransformingImageServer || files.size() != 1 || files[0].scheme != 'file')
    throw new IllegalStateException(
        'The image must be one file on this computer, not rotated or cropped')

def folder = java.nio.file.Files.createTempDirectory('prunella')
try {
    def file = new File(files[0].path).path
    def command = [program, 'segment', file, '--model', model, '--out', folder.toString()]
    def calibration = server.getPixelCalibration()
    if (calibration.hasPixelSizeMicrons())
        command += ['--mpp', calibration.getAveragedPixelSizeMicrons().toString()]
    command = (command + options)*.toString()
    def process = new ProcessBuilder(command).redirectErrorStream(true).start()
    def messages = process.inputStream.getText('UTF-8')
    // 1: no nucleus was found.
    if (process.waitFor() > 1)
        throw new RuntimeException(messages)

    def results = folder.toFile().listFiles().findAll { it.name.endsWith('.geojson') }
    results.each { importObjectsFromFile(it.path) }
    println "${getDetectionObjects().size()} detections"
} finally {
    folder.toFile().deleteDir()
}
