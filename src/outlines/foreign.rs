//! Files of other programs that hold outlines in a form that is not read: what they are, and the
//! way out.

use super::geojson_reader::member_names;
use crate::error::Error;

/// The sentence for a file that is recognised by its first bytes.
pub(super) fn foreign_outlines(bytes: &[u8]) -> Option<Error> {
    let (what, way_out) = match bytes {
        [0xAC, 0xED, 0, 5, ..] => {
            ("data of QuPath (.qpdata)", "export the objects as GeoJSON: File > Export objects")
        }
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => {
            ("a ZIP archive (such as a RoiSet of ImageJ)", "unpack it, or export GeoJSON")
        }
        [b'I', b'o', b'u', b't', ..] => {
            ("a region of ImageJ (.roi)", "save a label image instead: LOCI > ROI Map")
        }
        [b'S', b'Q', b'L', b'i', b't', b'e', ..] => {
            ("an SQLite database (such as SlideRunner's)", "export ImageScope XML or GeoJSON")
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            ("a NumPy array (such as Cellpose's _seg.npy)", "save the masks as PNG or TIFF")
        }
        [0x89, b'H', b'D', b'F', ..] => ("an HDF5 file", "export the outlines as GeoJSON"),
        [b'M', b'A', b'T', b'L', b'A', b'B', ..] => {
            ("a MATLAB file", "save the instance map as PNG or TIFF")
        }
        [b'%', b'P', b'D', b'F', ..] => ("a PDF", "export the outlines as GeoJSON"),
        _ => return None,
    };
    Some(refused(what, way_out))
}

/// The sentence for a text that is neither XML nor JSON.
pub(super) fn foreign_text(text: &str) -> Option<Error> {
    let start: String = text.chars().take(200).collect::<String>().to_ascii_uppercase();
    let is_wkt = ["POLYGON", "MULTIPOLYGON", "GEOMETRYCOLLECTION", "POINT", "LINESTRING", "SRID="]
        .iter()
        .any(|word| start.starts_with(word));
    if is_wkt || start.contains("POLYGON((") || start.contains("POLYGON ((") {
        return Some(refused("well-known text (as Cytomine exports)", "convert it to GeoJSON"));
    }
    None
}

/// The sentence for JSON that is no GeoJSON.
pub(super) fn foreign_json(text: &str) -> Option<Error> {
    let names = member_names(text);
    let has = |name: &str| names.iter().any(|n| n == name);
    let (what, way_out) = if has("_via_img_metadata") || has("_via_settings") {
        ("a project of the VGG Image Annotator (VIA)", "convert it to GeoJSON")
    } else if has("file_attributes") || (has("filename") && has("regions")) {
        ("annotations of the VGG Image Annotator (VIA)", "convert them to GeoJSON")
    } else if has("annotations") && (has("images") || has("categories")) {
        ("COCO JSON", "it may hold many images: convert the outlines of one to GeoJSON")
    } else if has("segmentation") && has("image_id") {
        ("COCO results", "they may hold many images: convert the outlines of one to GeoJSON")
    } else if has("nuc") {
        ("HoVer-Net JSON", "convert its contours to GeoJSON, or use its instance map")
    } else if has("elements") || (has("annotation") && !has("type")) {
        ("annotations of the Digital Slide Archive (HistomicsUI)", "convert them to GeoJSON")
    } else if has("markerFiles") || has("regionFiles") {
        ("a TissUUmaps project", "save its regions as GeoJSON")
    } else if has("location") && (has("term") || has("image") || has("project")) {
        ("annotations of Cytomine", "convert their well-known text to GeoJSON")
    } else if has("arcs") || has("objects") && has("transform") {
        ("TopoJSON", "convert it to GeoJSON")
    } else if has("createTimestamp") || has("uriBase") {
        ("a QuPath project", "open it in QuPath and use File > Export objects as GeoJSON")
    } else if has("shapes") && has("imagePath") {
        ("LabelMe JSON that cannot be understood", "save it again in LabelMe")
    } else if has("asset") || has("labelingJob") {
        ("annotations of another labelling program", "export GeoJSON there")
    } else {
        return None;
    };
    Some(refused(what, way_out))
}

/// The sentence for XML with another root element.
pub(super) fn foreign_xml(root: &str, children: &[String]) -> Error {
    let has = |name: &str| children.iter().any(|n| n == name);
    let (what, way_out) = match root {
        "annotations" if has("ndpviewstate") => (
            "NDP.view annotations (.ndpa)",
            "their places are nanometres from the slide's centre: import them into QuPath with the \
             slide and export GeoJSON",
        ),
        "annotations" if has("image") || has("track") || has("meta") => {
            ("CVAT XML", "it may hold many images: export COCO or masks and convert one image")
        }
        "annotation" if has("object") || has("folder") || has("filename") => {
            ("Pascal VOC or old LabelMe XML", "convert its outlines to GeoJSON")
        }
        "OME" => ("OME-XML", "import its regions into QuPath and export GeoJSON"),
        "svg" => ("an SVG drawing", "convert its outlines to GeoJSON"),
        "kml" => ("KML", "its places are on Earth, not in an image"),
        "gpx" => ("GPX", "its places are on Earth, not in an image"),
        "html" | "HTML" => ("a web page", "download the file that the page links to"),
        "GraphicsDocument" | "ImageDocument" | "METADATA" => {
            ("ZEISS graphics", "import them into QuPath and export GeoJSON")
        }
        "session" | "Session" => ("a session of Sedeen", "export GeoJSON or ImageScope XML"),
        "root" => ("XML of Icy", "save the regions as a label image"),
        "SlideAnnotations" | "Slide" | "project" | "Document" => {
            ("XML of another viewer", "export GeoJSON or ImageScope XML there")
        }
        other => {
            return Error::unsupported(format!(
                "The XML has the root <{other}>, which is neither ImageScope's and HALO's \
                 <Annotations> nor ASAP's <ASAP_Annotations>; convert it to one of them or to \
                 GeoJSON"
            ));
        }
    };
    refused(what, way_out)
}

fn refused(what: &str, way_out: &str) -> Error {
    Error::unsupported(format!("The file is {what}, which is not read; {way_out}"))
}
