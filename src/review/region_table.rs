//! What the nuclei of a slide are like in each region and in the regions of each class, from the
//! table of nuclei: a table, and annotations with measurements for QuPath.

use std::io::BufRead;

use super::region::{NamedRegion, RegionFile, area, clipped};
use crate::error::{Error, Result};
use crate::instances::{NucleusTable, TableNucleus};
use crate::outlines::{MeasuredOutline, Outline, common_part, united, write_measured_regions};
use crate::platform::csv_text;
use crate::raster::{Polygon, PolygonIndex};
use crate::slide::SlideBounds;

/// Most corners of all regions.
const MAX_CORNERS: usize = 5_000_000;
/// Cells of the grid that finds regions by place, along each side.
const GRID_CELLS: usize = 128;
/// Name of the row of nuclei of all types.
const ALL_TYPES: &str = "all";

/// What the numbers of a region refer to.
#[derive(Debug, Clone)]
pub struct RegionTableSettings {
    /// Size of the slide, pixels of the finest level.
    pub slide: SlideBounds,
    /// The part of it that is segmented, as valid polygons; everything where there is none.
    pub segmented: Option<Vec<Polygon>>,
    /// Pixel size, micrometres.
    pub mpp_um: f64,
    /// Names of the types of nuclei that the model tells apart; none where it tells none apart.
    pub types: Vec<String>,
}

/// A running mean, and the sum of squares around it (Welford 1962).
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Of a sample: with one less than the number of values in the denominator.
    fn deviation(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.squares / (self.count - 1) as f64).sqrt())
    }
}

/// Nuclei of one type, or of all, in a region.
#[derive(Debug, Clone, Default)]
struct NucleusSums {
    nuclei: usize,
    /// Square pixels.
    covered_px: f64,
    measurements: Vec<Moments>,
}

impl NucleusSums {
    fn add(&mut self, nucleus: &TableNucleus<'_>) {
        self.nuclei += 1;
        self.covered_px += nucleus.area_px;
        for (moments, value) in self.measurements.iter_mut().zip(nucleus.values) {
            moments.add(*value);
        }
    }
}

/// A region, or all regions of a class together, with the nuclei in it.
#[derive(Debug)]
struct MeasuredRegion {
    /// Of a class its name alone is known besides the polygons.
    region: NamedRegion,
    /// Inside the slide, square pixels.
    area_px: f64,
    /// The segmented part of that.
    segmented_px: f64,
    all: NucleusSums,
    /// In the order of the types.
    of_types: Vec<NucleusSums>,
}

impl MeasuredRegion {
    fn add(&mut self, nucleus: &TableNucleus<'_>, of_type: Option<usize>) {
        self.all.add(nucleus);
        if let Some(sums) = of_type.and_then(|of_type| self.of_types.get_mut(of_type)) {
            sums.add(nucleus);
        }
    }
}

/// Where a region lies, and the number of its class.
struct RegionPlace {
    index: PolygonIndex,
    bounds: SlideBounds,
    class: Option<usize>,
}

impl RegionPlace {
    fn new(region: &NamedRegion, classes: &[MeasuredRegion]) -> Self {
        let is_own = |class: &MeasuredRegion| class.region.class == region.class;
        let class = classes.iter().position(is_own);
        Self { index: PolygonIndex::new(&region.polygons), bounds: region.bounds(), class }
    }
}

/// The regions of a slide with the nuclei in them. A nucleus belongs to each region that holds its
/// centroid; to a class it counts once, however many of its regions hold it.
#[derive(Debug)]
pub struct RegionTable {
    settings: RegionTableSettings,
    measurements: Vec<String>,
    /// In the order of the file.
    regions: Vec<MeasuredRegion>,
    /// By name; their polygons are those of their regions together.
    classes: Vec<MeasuredRegion>,
}

impl RegionTable {
    /// Counts and measures the nuclei of a table.
    ///
    /// # Errors
    /// [`Error::Limit`] for regions of too many corners; those of reading the table.
    pub fn new(
        file: &RegionFile,
        settings: RegionTableSettings,
        nuclei: impl BufRead,
    ) -> Result<Self> {
        let corners: usize =
            file.regions.iter().flat_map(|region| &region.polygons).flatten().map(Vec::len).sum();
        if corners > MAX_CORNERS {
            return Err(Error::limit(format!(
                "The regions have {corners} corners; {MAX_CORNERS} are the limit"
            )));
        }
        let mut nuclei = NucleusTable::new(nuclei)?;
        let measurements = nuclei.measurements().to_vec();
        let mut table = Self { settings, measurements, regions: Vec::new(), classes: Vec::new() };
        for region in &file.regions {
            table.regions.push(table.measured(region.clone()));
        }
        for class in classes_of(&file.regions) {
            table.classes.push(table.measured(class));
        }
        table.add_nuclei(&mut nuclei)?;
        Ok(table)
    }

    fn measured(&self, region: NamedRegion) -> MeasuredRegion {
        let inside = clipped(&region.polygons, &self.settings.slide);
        let area_px = area(&inside);
        let segmented_px = match &self.settings.segmented {
            None => area_px,
            Some(part) => {
                area(&clipped(&common_part(&region.polygons, part), &self.settings.slide))
            }
        };
        let measurements = vec![Moments::default(); self.measurements.len()];
        let none = NucleusSums { measurements, ..NucleusSums::default() };
        MeasuredRegion {
            region,
            area_px,
            segmented_px,
            of_types: vec![none.clone(); self.settings.types.len()],
            all: none,
        }
    }

    fn add_nuclei(&mut self, nuclei: &mut NucleusTable<impl BufRead>) -> Result<()> {
        let Self { settings, regions, classes, .. } = self;
        let places: Vec<RegionPlace> =
            regions.iter().map(|region| RegionPlace::new(&region.region, classes)).collect();
        let grid = RegionGrid::new(&places);
        // Classes of the nucleus at hand.
        let mut found = Vec::new();
        while let Some(nucleus) = nuclei.next_nucleus()? {
            let (x, y) = nucleus.centroid;
            let of_type = settings.types.iter().position(|name| name == nucleus.class);
            found.clear();
            for &number in grid.near(x, y) {
                let place = &places[number as usize];
                if !place.index.holds(x, y) {
                    continue;
                }
                regions[number as usize].add(&nucleus, of_type);
                if let Some(class) = place.class
                    && !found.contains(&class)
                {
                    found.push(class);
                    classes[class].add(&nucleus, of_type);
                }
            }
        }
        Ok(())
    }

    /// mm² of square pixels.
    fn mm2(&self, px: f64) -> f64 {
        // A sum of no areas is -0.
        px * (self.settings.mpp_um / 1000.0).powi(2) + 0.0
    }

    fn density(&self, region: &MeasuredRegion, sums: &NucleusSums) -> Option<f64> {
        let mm2 = self.mm2(region.segmented_px);
        (mm2 > 0.0).then(|| sums.nuclei as f64 / mm2)
    }

    /// A table: for each region and each class a row of all nuclei, and where the model tells types
    /// apart, one of each type. Densities, and shares of the area that nuclei cover, refer to the
    /// segmented part; a nucleus counts as a whole where its centroid lies. `slide` is the first
    /// field of each row.
    #[must_use]
    pub fn csv(&self, slide: &str) -> String {
        let mut csv = "slide,kind,region,class,id,type,area_mm2,segmented_mm2,nuclei,\
                       density_per_mm2,area_share"
            .to_owned();
        for name in &self.measurements {
            csv += &format!(",{},{}", mean_name(name), deviation_name(name));
        }
        csv += "\n";
        let slide = csv_text(slide);
        for (kind, regions) in [("annotation", &self.regions), ("class", &self.classes)] {
            for region in regions {
                csv += &self.row(&slide, kind, region, ALL_TYPES, &region.all);
                for (name, sums) in self.settings.types.iter().zip(&region.of_types) {
                    csv += &self.row(&slide, kind, region, name, sums);
                }
            }
        }
        csv
    }

    fn row(
        &self,
        slide: &str,
        kind: &str,
        measured: &MeasuredRegion,
        type_name: &str,
        sums: &NucleusSums,
    ) -> String {
        let region = &measured.region;
        let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.4}"));
        let share = (measured.segmented_px > 0.0).then(|| sums.covered_px / measured.segmented_px);
        let mut row = format!(
            "{slide},{kind},{},{},{},{},{:.6},{:.6},{},{},{}",
            csv_text(&region.name),
            csv_text(region.class.as_deref().unwrap_or_default()),
            csv_text(region.object_id.as_deref().unwrap_or_default()),
            csv_text(type_name),
            self.mm2(measured.area_px),
            self.mm2(measured.segmented_px),
            sums.nuclei,
            number(self.density(measured, sums)),
            number(share),
        );
        for moments in &sums.measurements {
            row += &format!(",{},{}", number(moments.mean()), number(moments.deviation()));
        }
        row + "\n"
    }

    /// The regions as annotations with these numbers as measurements, for QuPath; `model` is the
    /// fingerprint of the model that found the nuclei.
    ///
    /// # Errors
    /// [`Error::Io`] when the target cannot be written.
    pub fn write_geojson(&self, model: &str, target: &mut dyn std::io::Write) -> Result<()> {
        let mut outlines = Vec::with_capacity(self.regions.len());
        for region in &self.regions {
            let outline = Outline::from(&region.region);
            outlines.push(MeasuredOutline { outline, measurements: self.values(region) });
        }
        write_measured_regions(&outlines, model, Some(self.settings.mpp_um), target)
    }

    /// Names and values of what is known of a region.
    fn values(&self, region: &MeasuredRegion) -> Vec<(String, f64)> {
        let mut values = Vec::new();
        let mut add = |name: String, value: Option<f64>| {
            if let Some(value) = value {
                values.push((name, (value * 1e6).round() / 1e6));
            }
        };
        let share = region.all.covered_px / region.segmented_px;
        add("Area mm^2".into(), Some(self.mm2(region.area_px)));
        add("Segmented mm^2".into(), Some(self.mm2(region.segmented_px)));
        add("Nuclei".into(), Some(region.all.nuclei as f64));
        add("Nuclei per mm^2".into(), self.density(region, &region.all));
        add("Nuclei area share".into(), share.is_finite().then_some(share));
        for (name, sums) in self.settings.types.iter().zip(&region.of_types) {
            add(format!("Nuclei: {name}"), Some(sums.nuclei as f64));
            add(format!("Nuclei per mm^2: {name}"), self.density(region, sums));
        }
        for (name, moments) in self.measurements.iter().zip(&region.all.measurements) {
            add(mean_name(name), moments.mean());
            add(deviation_name(name), moments.deviation());
        }
        values
    }
}

fn mean_name(measurement: &str) -> String {
    format!("{measurement}: Mean")
}

fn deviation_name(measurement: &str) -> String {
    format!("{measurement}: Std.Dev.")
}

/// The regions of each class as one, by name. Regions without a class are in none.
fn classes_of(regions: &[NamedRegion]) -> Vec<NamedRegion> {
    let mut of_class = std::collections::BTreeMap::<&str, Vec<&NamedRegion>>::new();
    for region in regions {
        if let Some(class) = &region.class {
            of_class.entry(class).or_default().push(region);
        }
    }
    let mut classes = Vec::with_capacity(of_class.len());
    for (class, regions) in of_class {
        classes.push(NamedRegion {
            polygons: covered(&regions),
            class: Some(class.to_owned()),
            ..NamedRegion::default()
        });
    }
    classes
}

/// What regions cover together. Those that lie apart need no Boolean operation.
fn covered(regions: &[&NamedRegion]) -> Vec<Polygon> {
    let bounds: Vec<SlideBounds> = regions.iter().map(|region| region.bounds()).collect();
    let (mut apart, mut near) = (Vec::new(), Vec::new());
    for (index, region) in regions.iter().enumerate() {
        let is_near =
            |(other, at): (usize, &SlideBounds)| other != index && at.intersects(&bounds[index]);
        let target = if bounds.iter().enumerate().any(is_near) { &mut near } else { &mut apart };
        target.extend(region.polygons.iter().cloned());
    }
    if !near.is_empty() {
        apart.extend(united(&near));
    }
    apart
}

/// Finds regions by place.
struct RegionGrid {
    all: SlideBounds,
    /// Size of a cell, pixels.
    cell: [f64; 2],
    /// Numbers of the regions whose rectangles touch each cell, row by row.
    cells: Vec<Vec<u32>>,
}

impl RegionGrid {
    fn new(regions: &[RegionPlace]) -> Self {
        let mut all = SlideBounds::of_points([]);
        for region in regions {
            all.left = all.left.min(region.bounds.left);
            all.top = all.top.min(region.bounds.top);
            all.right = all.right.max(region.bounds.right);
            all.bottom = all.bottom.max(region.bounds.bottom);
        }
        let cell = [all.width(), all.height()].map(|side| (side / GRID_CELLS as f64).max(1e-9));
        let mut grid = Self { all, cell, cells: vec![Vec::new(); GRID_CELLS * GRID_CELLS] };
        for (region, number) in regions.iter().zip(0u32..) {
            let [first_column, first_row] = grid.place(region.bounds.left, region.bounds.top);
            let [last_column, last_row] = grid.place(region.bounds.right, region.bounds.bottom);
            for row in first_row..=last_row {
                for column in first_column..=last_column {
                    grid.cells[row * GRID_CELLS + column].push(number);
                }
            }
        }
        grid
    }

    /// Column and row of the cell nearest to a point.
    fn place(&self, x: f64, y: f64) -> [usize; 2] {
        let cell = |offset: f64, size: f64| ((offset / size) as usize).min(GRID_CELLS - 1);
        [cell(x - self.all.left, self.cell[0]), cell(y - self.all.top, self.cell[1])]
    }

    /// Regions that may hold a point.
    fn near(&self, x: f64, y: f64) -> &[u32] {
        let [column, row] = self.place(x, y);
        &self.cells[row * GRID_CELLS + column]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, class and rings.
    type Annotation<'a> = (&'a str, &'a str, &'a [&'a [[f64; 2]]]);

    fn file(regions: &[Annotation<'_>]) -> RegionFile {
        let mut features = Vec::new();
        for (name, class, rings) in regions {
            let classification = match *class {
                "" => serde_json::Value::Null,
                class => serde_json::json!({ "name": class }),
            };
            features.push(serde_json::json!({
                "type": "Feature",
                "geometry": { "type": "Polygon", "coordinates": rings },
                "properties": {
                    "objectType": "annotation", "name": name, "classification": classification,
                },
            }));
        }
        RegionFile::read(&serde_json::to_vec(&features).expect("JSON")).expect("regions")
    }

    fn square(x: f64, y: f64, side: f64) -> [[f64; 2]; 5] {
        [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    }

    fn settings() -> RegionTableSettings {
        RegionTableSettings {
            slide: SlideBounds::of_size(1000, 1000),
            segmented: None,
            mpp_um: 1.0,
            types: Vec::new(),
        }
    }

    /// A table of nuclei by place, area and type.
    fn nuclei(rows: &[(f64, f64, u32, &str)]) -> String {
        let mut text =
            "label,id,centroid_x_px,centroid_y_px,area_px,Area um^2,status,class\n".to_owned();
        for (number, (x, y, area, class)) in rows.iter().enumerate() {
            text += &format!("{number},u,{x},{y},{area},{},model,{class}\n", area * 2);
        }
        text
    }

    fn rows(table: &RegionTable) -> Vec<Vec<String>> {
        let csv = table.csv("a.svs");
        csv.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    #[test]
    fn regions_count_each_and_classes_count_once() {
        let hole = square(140.0, 140.0, 20.0);
        let regions = file(&[
            ("left", "Tumor", &[&square(100.0, 100.0, 100.0), &hole]),
            ("right", "Tumor", &[&square(150.0, 100.0, 100.0)]),
            ("edge", "", &[&square(900.0, 900.0, 200.0)]),
        ]);
        let places = [
            (120.0, 120.0, 10, "round"),
            (150.0, 145.0, 10, "round"),
            (180.0, 120.0, 30, "long"),
            (145.0, 145.0, 10, "round"),
            (950.0, 950.0, 10, ""),
            (500.0, 500.0, 10, "round"),
        ];
        let settings =
            RegionTableSettings { types: vec!["round".into(), "long".into()], ..settings() };
        let text = nuclei(&places);
        let table = RegionTable::new(&regions, settings, text.as_bytes()).expect("table");
        let rows = rows(&table);
        assert_eq!(
            rows[0][6..],
            [
                "area_mm2",
                "segmented_mm2",
                "nuclei",
                "density_per_mm2",
                "area_share",
                "Area um^2: Mean",
                "Area um^2: Std.Dev.",
            ]
        );
        let of = |kind: &str, region: &str, type_name: &str| {
            rows.iter()
                .find(|row| row[1] == kind && row[2] == region && row[5] == type_name)
                .map(|row| row[6..].join(" "))
                .expect("row")
        };
        // 9600 µm²; the nucleus in the hole is not inside.
        assert_eq!(
            of("annotation", "left", "all"),
            "0.009600 0.009600 2 208.3333 0.0042 40.0000 28.2843"
        );
        assert_eq!(
            of("annotation", "left", "long"),
            "0.009600 0.009600 1 104.1667 0.0031 60.0000 "
        );
        assert_eq!(of("annotation", "right", "all").split(' ').nth(2), Some("2"));
        assert_eq!(of("annotation", "edge", "all"), "0.010000 0.010000 1 100.0000 0.0010 20.0000 ");
        // Both together: 15 000 µm² less the part of the hole that the right one does not cover.
        assert_eq!(of("class", "", "all"), "0.014800 0.014800 3 202.7027 0.0034 33.3333 23.0940");
        assert_eq!(rows.len(), 1 + 4 * 3);
    }

    #[test]
    fn densities_refer_to_what_is_segmented() {
        let regions = file(&[("a", "", &[&square(0.0, 0.0, 100.0)])]);
        let part = [[50.0, 0.0], [200.0, 0.0], [200.0, 200.0], [50.0, 200.0]];
        let settings = RegionTableSettings {
            segmented: Some(vec![vec![part.map(crate::raster::Point::from).to_vec()]]),
            ..settings()
        };
        let text = nuclei(&[(70.0, 50.0, 500, "")]);
        let table = RegionTable::new(&regions, settings, text.as_bytes()).expect("table");
        assert_eq!(rows(&table)[1][6..11].join(" "), "0.010000 0.005000 1 200.0000 0.1000");
    }

    #[test]
    fn annotations_carry_their_numbers_for_qupath() {
        let regions = file(&[("a", "Stroma", &[&square(0.0, 0.0, 100.0)])]);
        let text = nuclei(&[(70.0, 50.0, 500, "")]);
        let table = RegionTable::new(&regions, settings(), text.as_bytes()).expect("table");
        let mut bytes = Vec::new();
        table.write_geojson("ab12", &mut bytes).expect("written");
        let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        let properties = &value["features"][0]["properties"];
        assert_eq!(properties["objectType"], "annotation");
        assert_eq!(properties["name"], "a");
        assert_eq!(properties["classification"]["name"], "Stroma");
        assert_eq!(properties["metadata"]["model"], "sha256:ab12");
        let measured = &properties["measurements"];
        assert_eq!((measured["Nuclei"].as_f64(), measured["Nuclei per mm^2"].as_f64()), {
            (Some(1.0), Some(100.0))
        });
        assert_eq!(measured["Area um^2: Mean"], 1000.0);
        assert!(measured.get("Area um^2: Std.Dev.").is_none(), "of one value");
        // What was read comes back.
        assert_eq!(RegionFile::read(&bytes).expect("regions").regions[0].name, "a");
    }

    /// Prints how long a million nuclei take, in a hundred regions of a thousand corners.
    #[test]
    fn nuclei_fall_into_stars_as_often_as_their_area_says() {
        let ring = |number: u32| -> Vec<[f64; 2]> {
            let [x, y] = [number % 10, number / 10].map(|v| f64::from(v) * 10_000.0 + 5000.0);
            let corner = |i: u32| {
                let angle = f64::from(i) * std::f64::consts::TAU / 1000.0;
                let radius = if i.is_multiple_of(2) { 6000.0 } else { 4000.0 };
                [x + radius * angle.cos(), y + radius * angle.sin()]
            };
            (0..1000).map(corner).collect()
        };
        let rings: Vec<_> = (0..100).map(ring).collect();
        let outlines: Vec<[&[[f64; 2]]; 1]> = rings.iter().map(|ring| [ring.as_slice()]).collect();
        let named: Vec<Annotation<'_>> =
            outlines.iter().map(|outline| ("r", "Tumor", outline.as_slice())).collect();
        let count: u32 = 20_000;
        let mut text = String::from(
            "label,id,centroid_x_px,centroid_y_px,area_px,Area um^2,Perimeter um,Circularity,\
             Eccentricity,Probability mean,Hematoxylin OD mean,status\n",
        );
        for i in 0..count {
            let place = crate::platform::mix(u64::from(i));
            let [x, y] = [place % 10_000_000, (place >> 32) % 10_000_000].map(|v| v as f64 / 100.0);
            text += &format!(
                "{i},3f2504e0-4f89-41d3-9a0c-0305e82c3301,{x},{y},412,25.7501,19.4012,0.8597,\
                 0.6611,0.9124,0.4107,model\n"
            );
        }
        let slide = SlideBounds::of_size(100_000, 100_000);
        let settings = RegionTableSettings { slide, ..settings() };
        let regions = file(&named);
        let table = RegionTable::new(&regions, settings, text.as_bytes()).expect("table");
        let in_class = table.classes[0].all.nuclei as f64 / f64::from(count);
        // A star covers the area between its circles' polygons: half of 6000 · 4000 · π nearly.
        let expected = table.classes[0].area_px / 1e10;
        assert!((in_class - expected).abs() < 0.01, "{in_class} {expected}");
    }
}
