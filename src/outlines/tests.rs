//! Files of other programs, as they have them.

use super::*;
use crate::error::Result;

fn read(text: &str) -> Outlines {
    read_outlines(text.as_bytes()).expect(text)
}

fn areas(outlines: &Outlines) -> Vec<f64> {
    outlines.objects.iter().map(Outline::area).collect()
}

/// Areas of the objects of a file without notes.
fn quiet_areas(text: &str) -> Vec<f64> {
    let outlines = read(text);
    assert!(outlines.notes.notes.is_empty(), "{:?}", outlines.notes);
    areas(&outlines)
}

fn notes(text: &str) -> String {
    read(text).notes.notes.join("; ")
}

fn refusal(bytes: &[u8]) -> String {
    read_outlines(bytes).expect_err("refused").to_string()
}

const SQUARE: &str = "[[10,10],[30,10],[30,30],[10,30],[10,10]]";

fn polygon() -> String {
    format!(r#"{{"type":"Polygon","coordinates":[{SQUARE}]}}"#)
}

fn feature(geometry: &str, properties: &str) -> String {
    format!(r#"{{"type":"Feature","properties":{properties},"geometry":{geometry}}}"#)
}

#[test]
fn every_form_of_geojson_gives_the_same_objects() {
    let feature = feature(&polygon(), "null");
    let collection = format!(r#"{{"features":[{feature},{feature}],"type":"FeatureCollection"}}"#);
    for text in [
        collection.clone(),
        format!("[{feature},{feature}]"),
        format!("[{},{}]", polygon(), polygon()),
        format!("{feature}\n{feature}\n"),
        format!("\u{1E}{feature}\n\u{1E}{feature}\n"),
        format!("[{collection}]"),
        format!("\u{FEFF}{collection}"),
        format!("\r\n  {collection}"),
    ] {
        assert_eq!(quiet_areas(&text), [400.0, 400.0], "{text}");
    }
    let both =
        format!(r#"{{"type":"GeometryCollection","geometries":[{},{}]}}"#, polygon(), polygon());
    assert_eq!(quiet_areas(&both), [800.0], "one object of two parts");
    let several = format!(r#"{{"type":"MultiPolygon","coordinates":[[{SQUARE}],[{SQUARE}]]}}"#);
    assert_eq!(quiet_areas(&several), [800.0]);
    let open = r#"{"type":"Polygon","coordinates":[[[10,10,5],[30,10,5],[30,30,5],[10,30,5]]]}"#;
    assert_eq!(quiet_areas(open), [400.0], "not closed, with heights");
    assert!(read(r#"{"type":"FeatureCollection","features":[]}"#).objects.is_empty());
    assert!(read("[]").objects.is_empty());
}

#[test]
fn shapes_without_area_are_counted() {
    let features = [
        feature(r#"{"type":"Point","coordinates":[1,2]}"#, "{}"),
        feature(r#"{"type":"MultiPoint","coordinates":[[1,2]]}"#, "{}"),
        feature(r#"{"type":"LineString","coordinates":[[1,2],[3,4]]}"#, "{}"),
        feature("null", "{}"),
        feature(r#"{"type":"Polygon","coordinates":[]}"#, "{}"),
        feature(r#"{"type":"Polygon","coordinates":[[[1,1],[2,2],[1,1]]]}"#, "{}"),
        feature(r#"{"type":"Polygon","coordinates":[[[0,0],[1e300,0],[0,9]]]}"#, "{}"),
        feature(&polygon(), "{}"),
    ];
    let text = format!("[{}]", features.join(","));
    assert_eq!(areas(&read(&text)), [400.0]);
    let notes = notes(&text);
    for word in [
        "1 × Point",
        "1 × MultiPoint",
        "1 × LineString",
        "2 features have no geometry",
        "1 outline has fewer than three",
        "1 outline has coordinates",
    ] {
        assert!(notes.contains(word), "{word}: {notes}");
    }
}

#[test]
fn what_qupath_states_of_an_object_is_kept() {
    let text = feature(
        &polygon(),
        r#"{"objectType":"annotation","name":"n","classification":{"names":["A","B"]}}"#,
    );
    let object = &read(&text).objects[0];
    assert_eq!(object.class.as_deref(), Some("A: B"));
    assert_eq!((object.name.as_deref(), object.kind), (Some("n"), OutlineKind::Annotation));
    let cell = format!(
        r#"{{"type":"Feature","properties":{{"objectType":"cell"}},"geometry":{},
        "nucleusGeometry":{{"type":"Polygon","coordinates":[[[15,15],[25,15],[25,25],[15,25]]]}}}}"#,
        polygon()
    );
    let outlines = read(&cell);
    assert_eq!((areas(&outlines), outlines.objects[0].kind), (vec![100.0], OutlineKind::Detection));
    assert!(notes(&cell).contains("nucleus"));
    let measured =
        feature(&polygon(), r#"{"name":"NaN \" NaN","measurements":{"a":NaN,"b":-Infinity}}"#);
    assert_eq!(read(&measured).objects[0].name.as_deref(), Some("NaN \" NaN"));
    let border = cell.replace("nucleusGeometry", "other");
    assert_eq!(read(&border).objects[0].kind, OutlineKind::Cell);
}

#[test]
fn broken_geojson_is_an_error_that_names_the_defect() {
    for (text, word) in [
        (r#"{"type":"Polygon","coordinates":[[[1],[2],[3]]]}"#, "lacks"),
        (r#"{"type":"Polygon","coordinates":[[[0,0],[10,NaN],[10,10]]]}"#, "NaN"),
        (r#"{"type":"Polygon","coordinates":[[[0,0],[10,-Infinity],[10,10]]]}"#, "Infinity"),
        (r#"{"type":"Polygon","coordinates":[[0,0],[10,1],[10,10]]}"#, "list of rings"),
        (r#"{"type":"Polygon","coordinates":"none"}"#, "cannot be understood"),
        (r#"{"type":"Curve","coordinates":[]}"#, "'Curve'"),
        (r#"{"type":"Polygon""#, "cannot be understood"),
        (r#"{"type":"FeatureCollection","features":[{"#, "cannot be understood"),
        (r#"{"a":1}"#, "no \"type\""),
        ("", "empty"),
        ("label,x,y\n1,2,3\n", "neither GeoJSON nor XML"),
    ] {
        let message = refusal(text.as_bytes());
        assert!(message.contains(word), "{text}: {message}");
    }
    let deep = "[".repeat(100_000);
    assert!(refusal(deep.as_bytes()).contains("cannot be understood"));
}

#[test]
fn files_of_other_programs_are_refused_by_name() {
    for (bytes, name) in [
        (&b"\xAC\xED\0\x05sr"[..], "QuPath (.qpdata)"),
        (b"PK\x03\x04", "ZIP"),
        (b"Iout\0", "ImageJ"),
        (b"SQLite format 3\0", "SQLite"),
        (b"\x93NUMPY\x01\0", "NumPy"),
        (b"POLYGON ((1 2, 3 4))", "well-known text"),
        (br#"{"images":[],"annotations":[],"categories":[]}"#, "COCO"),
        (br#"[{"segmentation":[],"image_id":1}]"#, "COCO"),
        (br#"{"_via_settings":{},"_via_img_metadata":{}}"#, "VIA"),
        (br#"{"mag":40,"nuc":{"1":{"contour":[[1,2]]}}}"#, "HoVer-Net"),
        (br#"{"name":"a","elements":[]}"#, "Digital Slide Archive"),
        (br#"{"markerFiles":[]}"#, "TissUUmaps"),
        (br#"[{"location":"POLYGON((1 2))","term":[]}]"#, "Cytomine"),
        (br#"{"type":"Topology","objects":{},"arcs":[],"transform":{}}"#, "TopoJSON"),
        (b"<annotations><ndpviewstate id='1'/></annotations>", "NDP.view"),
        (b"<annotations><version>1.1</version><meta/><image id='0'/></annotations>", "CVAT"),
        (b"<annotation><folder/><object/></annotation>", "Pascal VOC"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<kml/>", "KML"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"<OME/>", "OME-XML"),
        (b"<other/>", "<other>"),
    ] {
        let message = refusal(bytes);
        assert!(message.contains(name), "{name}: {message}");
    }
}

#[test]
fn labelme_shapes_are_read() {
    let text = r#"{"version":"5.0","flags":{},"shapes":[
        {"label":"nucleus","points":[[0,0],[4,0],[4,4]],"shape_type":"polygon"},
        {"label":"box","points":[[1,1],[5,3]],"shape_type":"rectangle"},
        {"label":"disc","points":[[50,50],[60,50]],"shape_type":"circle"},
        {"label":"p","points":[[1,1]],"shape_type":"point"}],
        "imagePath":"a.png","imageData":null,"imageHeight":9,"imageWidth":9}"#;
    let outlines = read(text);
    let areas = areas(&outlines);
    assert_eq!((areas.len(), areas[0], areas[1]), (3, 8.0, 8.0));
    assert!((areas[2] / (std::f64::consts::PI * 100.0) - 1.0).abs() < 0.005);
    assert_eq!(outlines.objects[0].class.as_deref(), Some("nucleus"));
    assert!(notes(text).contains("1 × point"));
}

fn xml(regions: &str) -> String {
    format!(
        "<Annotations MicronsPerPixel=\"0.252\"><Annotation Id=\"1\"><Regions>{regions}</Regions>\
         </Annotation></Annotations>"
    )
}

fn region(attributes: &str, points: &[(f64, f64)]) -> String {
    let vertices: String =
        points.iter().map(|(x, y)| format!("<Vertex X=\"{x}\" Y=\"{y}\" Z=\"0\"/>")).collect();
    format!("<Region {attributes}><Vertices>{vertices}</Vertices></Region>")
}

const CORNERS: [(f64, f64); 4] = [(1., 1.), (4., 1.), (4., 4.), (1., 4.)];

#[test]
fn imagescope_regions_and_pixel_size_are_read_and_drawn() {
    let outlines = read(&xml(&region("Id=\"1\"", &CORNERS)));
    assert_eq!((outlines.objects.len(), outlines.mpp_um), (1, Some(0.252)));
    let drawing = draw_outlines(&outlines, 6, 6, 0.0);
    assert_eq!(drawing.labels.data().iter().filter(|&&l| l == 1).count(), 9);
    assert!(drawing.notes.notes.is_empty());
    let comma = xml(&region("", &CORNERS)).replace("0.252", "0,5").replace("\"4\"", "\"4,0\"");
    let outlines = read(&comma);
    assert_eq!((areas(&outlines), outlines.mpp_um), (vec![9.0], Some(0.5)));
    assert!(notes(&comma).contains("comma"));
}

#[test]
fn degenerate_regions_are_notes_and_leave_no_gap_in_the_numbers() {
    let text = xml(&[
        region("Id=\"1\"", &CORNERS[..2]),
        region("Id=\"2\"", &[(5.1, 5.1), (5.2, 5.1), (5.2, 5.2)]),
        region("Id=\"3\"", &CORNERS),
        region("Id=\"4\"", &[(-9., -9.), (2., -9.), (2., 2.)]),
        region("Id=\"5\"", &[(60., 60.), (70., 60.), (70., 70.)]),
    ]
    .concat());
    assert!(notes(&text).contains("1 × region of 2 vertices"), "{}", notes(&text));
    let drawing = draw_outlines(&read(&text), 6, 6, 0.0);
    assert_eq!(drawing.objects, 2);
    assert_eq!(drawing.labels.renumbered().1, 2);
    let notes = drawing.notes.notes.join("; ");
    for word in ["covers no pixel", "region 2", "outside the image", "1 object lies outside"] {
        assert!(notes.contains(word), "{word}: {notes}");
    }
}

#[test]
fn shapes_of_imagescope_and_halo() {
    let pair = [(10.0, 10.0), (50.0, 30.0)];
    let ellipse = std::f64::consts::PI * 20.0 * 10.0;
    for kind in ["2", "Ellipse"] {
        let outlines = read(&xml(&region(&format!("Type=\"{kind}\""), &pair)));
        assert!((areas(&outlines)[0] / ellipse - 1.0).abs() < 0.005);
    }
    for kind in ["1", "Rectangle"] {
        assert_eq!(quiet_areas(&xml(&region(&format!("Type=\"{kind}\""), &pair))), [800.0]);
    }
    for (attributes, word) in [
        ("Type=\"3\"", "arrow"),
        ("Type=\"4\"", "ruler"),
        ("Type=\"Ruler\"", "ruler"),
        ("Type=\"Polygon\" HasEndcaps=\"1\"", "open line"),
        ("Type=\"0\"", "2 vertices"),
    ] {
        let text = xml(&region(attributes, &pair));
        assert!(read(&text).objects.is_empty() && notes(&text).contains(word), "{attributes}");
    }
    let halo = "<Annotations><Annotation Name=\"Layer 1\" Visible=\"True\" LineColor=\"65535\">\
        <Regions><Region Type=\"Polygon\" HasEndcaps=\"0\" NegativeROA=\"0\"><Vertices>\
        <V X=\"0\" Y=\"0\"/><V X=\"9\" Y=\"0\"/><V X=\"9\" Y=\"9\"/><V X=\"0\" Y=\"9\"/></Vertices>\
        <Comments/></Region><Region Type=\"Rectangle\" NegativeROA=\"1\"><Vertices>\
        <V X=\"3\" Y=\"3\"/><V X=\"6\" Y=\"6\"/></Vertices></Region></Regions></Annotation>\
        </Annotations>";
    assert_eq!(quiet_areas(halo), [72.0]);
    assert_eq!(read(halo).objects[0].class.as_deref(), Some("Layer 1"));
}

#[test]
fn asap_annotations_are_read_in_their_order() {
    let asap = |kind: &str, group: &str| {
        format!(
            "<ASAP_Annotations><Annotations><Annotation Name=\"a\" Type=\"{kind}\" \
             PartOfGroup=\"{group}\" Color=\"#F4FA58\"><Coordinates>\
             <Coordinate Order=\"1\" X=\"30\" Y=\"10\"/><Coordinate Order=\"0\" X=\"10\" Y=\"10\"/>\
             <Coordinate Order=\"2\" X=\"30\" Y=\"30\"/><Coordinate Order=\"3\" X=\"10\" Y=\"30\"/>\
             </Coordinates></Annotation></Annotations>\
             <AnnotationGroups><Group Name=\"{group}\" PartOfGroup=\"None\"/></AnnotationGroups>\
             </ASAP_Annotations>"
        )
    };
    let text = asap("Polygon", "nuclei");
    assert_eq!(quiet_areas(&text), [400.0]);
    assert_eq!(read(&text).objects[0].class.as_deref(), Some("nuclei"));
    assert_eq!(read(&asap("Polygon", "None")).objects[0].class, None);
    assert!(notes(&asap("Dot", "nuclei")).contains("1 × Dot"));
    assert!(notes(&asap("Spline", "nuclei")).contains("spline"));
}

#[test]
fn layers_are_named_and_broken_xml_is_an_error() {
    let layer = |name: &str| {
        format!(
            "<Annotation Name=\"{name}\"><Regions>{}</Regions></Annotation>",
            region("", &CORNERS)
        )
    };
    let text = format!("<Annotations>{}{}</Annotations>", layer("R&amp;D"), layer("n\u{fc}clei"));
    assert!(notes(&text).contains("'R&D' (1), 'n\u{fc}clei' (1)"), "{}", notes(&text));
    let whole = xml(&region("", &CORNERS));
    let cut = whole.find("</Vertices>").expect("vertices");
    assert!(refusal(&whole.as_bytes()[..cut]).contains("closed"));
    for bad in [
        "<Annotations><Region".to_owned(),
        xml("<Region><Vertex X=\"a\" Y=\"1\"/></Region>"),
        xml("<Region><Vertex X=\"1e999\" Y=\"1\"/></Region>"),
        xml("<Region><Vertex X=\"1,2,3\" Y=\"1\"/></Region>"),
        xml("<Region><Vertex Y=\"1\"/></Region>"),
        xml("<Region Id=\"&unknown;\"/>"),
    ] {
        assert!(read_outlines(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn classes_names_and_ids_survive_xml() -> Result<()> {
    let id = "7f9c24e8-3b12-4fef-91e0-56a2d5a1b0c4";
    let object = |class: &str| {
        feature(
            &format!(
                r#"{{"type":"MultiPolygon","coordinates":
                [[{SQUARE},[[12,12],[14,12],[14,14],[12,14]]],[[[50,50],[60,50],[60,60],[50,60]]]]}}"#
            ),
            &format!(r#"{{"classification":{{"name":"{class}"}},"name":"a < b"}}"#),
        )
        .replacen('{', &format!(r#"{{"id":"{id}","#), 1)
    };
    let before = read(&format!("[{},{}]", object("Tumor & Co"), object("Stroma")));
    let after = read_outlines(&write_imagescope(&before, Some(0.25))?)?;
    assert_eq!(after.mpp_um, Some(0.25));
    assert_eq!(areas(&after), [496.0, 496.0]);
    for (before, after) in before.objects.iter().zip(&after.objects) {
        assert_eq!(
            (&before.id, &before.class, &before.name),
            (&after.id, &after.class, &after.name)
        );
        assert_eq!(before.polygons, after.polygons);
    }
    let mut text = Vec::new();
    write_geojson(&after, Some(0.25), &mut text)?;
    let again = read_outlines(&text)?;
    assert_eq!(again.objects[0].id.as_deref(), Some(id));
    assert_eq!(again.objects[1].class.as_deref(), Some("Stroma"));
    Ok(())
}

#[test]
fn regions_are_written_as_imagescope_does() {
    let mut outlines = read(&xml(&region("Id=\"1\"", &CORNERS)));
    let text = write_imagescope(&outlines, Some(0.25)).expect("XML");
    let expected = r#"<Annotations MicronsPerPixel="0.25">
 <Annotation Id="1" Type="4">
  <Regions>
   <Region Id="1" Type="0" NegativeROA="0">
    <Vertices>
     <Vertex X="1" Y="1" Z="0"/>
     <Vertex X="4" Y="1" Z="0"/>
     <Vertex X="4" Y="4" Z="0"/>
     <Vertex X="1" Y="4" Z="0"/>
    </Vertices>
   </Region>
  </Regions>
 </Annotation>
</Annotations>"#;
    assert_eq!(String::from_utf8_lossy(&text), expected);
    outlines.objects.clear();
    let empty = write_imagescope(&outlines, None).expect("XML");
    assert!(read_outlines(&empty).expect("empty").objects.is_empty());
}

#[test]
fn invalid_polygons_become_valid_where_they_are_written() {
    let mut outlines = read(
        r#"[{"type":"Polygon","coordinates":[[[0,0],[20,20],[20,0],[0,20],[0,0]]]},
        {"type":"Polygon","coordinates":[[[0,0],[5,0],[9,0]]]},
        {"type":"Polygon","coordinates":[[[0,0],[9,0],[9,9],[0,9]],[[20,20],[30,20],[30,30]]]}]"#,
    );
    let notes = outlines.make_valid().notes.join("; ");
    assert_eq!(areas(&outlines), [200.0, 81.0 + 50.0], "even-odd: a hole outside is an island");
    assert!(
        notes.contains("2 outlines were not valid") && notes.contains("1 outline encloses"),
        "{notes}"
    );
    for object in &outlines.objects {
        assert!(polygons_are_valid(&object.polygons, 100.0));
    }
}
