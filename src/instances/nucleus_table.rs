//! The table of nuclei read back, row by row: what regions and density maps are made of.

use std::io::BufRead;

use crate::error::{Error, Result};
use crate::platform::{CsvReader, CsvRecord};

/// Columns before the measurements, as [`write_nuclei`](super::write_nuclei) writes them.
const FIRST_COLUMNS: [&str; 5] = ["label", "id", "centroid_x_px", "centroid_y_px", "area_px"];
/// The column behind the measurements.
const STATUS: &str = "status";
/// The column of types, where there are any.
const CLASS: &str = "class";

/// A nucleus as its row states it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TableNucleus<'a> {
    /// x and y, pixels of the image.
    pub centroid: (f64, f64),
    /// Square pixels.
    pub area_px: f64,
    /// In the order of [`NucleusTable::measurements`]; NaN where the field is empty.
    pub values: &'a [f64],
    /// Name of its type; empty where it has none.
    pub class: &'a str,
}

/// Reads a table of nuclei; memory does not grow with its length.
#[derive(Debug)]
pub struct NucleusTable<R> {
    rows: CsvReader<R>,
    record: CsvRecord,
    measurements: Vec<String>,
    values: Vec<f64>,
    class: Option<usize>,
    line: usize,
}

impl<R: BufRead> NucleusTable<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a table that is not one of nuclei; those of reading.
    pub fn new(source: R) -> Result<Self> {
        let mut rows = CsvReader::new(source, b',');
        let mut record = CsvRecord::default();
        rows.next_record(&mut record)?;
        let names: Vec<String> = record.fields().map(str::to_owned).collect();
        let status = names.iter().position(|name| name == STATUS);
        let (true, Some(status)) = (names.starts_with(&FIRST_COLUMNS.map(str::to_owned)), status)
        else {
            return Err(Error::malformed("The table is not one of nuclei by prunella"));
        };
        let measurements = names[FIRST_COLUMNS.len()..status].to_vec();
        let class = names.iter().position(|name| name == CLASS);
        let values = vec![f64::NAN; measurements.len()];
        Ok(Self { rows, record, measurements, values, class, line: 1 })
    }

    /// Names of the measurements.
    #[must_use]
    pub fn measurements(&self) -> &[String] {
        &self.measurements
    }

    /// The next nucleus; none at the end.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a row with something else than numbers; those of reading.
    pub fn next_nucleus(&mut self) -> Result<Option<TableNucleus<'_>>> {
        if !self.rows.next_record(&mut self.record)? {
            return Ok(None);
        }
        self.line += 1;
        let (record, line) = (&self.record, self.line);
        let number = |column: usize| {
            let text = record.field(column);
            text.parse::<f64>().map_err(|_| {
                Error::malformed(format!("Row {line} of the table has '{text}' for a number"))
            })
        };
        let first = FIRST_COLUMNS.len();
        for (index, value) in self.values.iter_mut().enumerate() {
            let is_empty = record.field(first + index).is_empty();
            *value = if is_empty { f64::NAN } else { number(first + index)? };
        }
        Ok(Some(TableNucleus {
            centroid: (number(2)?, number(3)?),
            area_px: number(4)?,
            values: &self.values,
            class: self.class.map_or("", |column| record.field(column)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::{Measurements, Nucleus, Provenance, write_nuclei};
    use crate::model::NucleusType;

    #[test]
    fn rows_come_back_as_they_were_written() {
        let nucleus = |label: u32, class| Nucleus {
            label,
            polygons: Vec::new(),
            area_px: 15,
            centroid: (f64::from(label) + 0.125, 7.5),
            measurements: (label == 1).then(|| Measurements { area: 0.75, ..Default::default() }),
            class,
        };
        let types = vec![NucleusType { name: "a, \"b\"".into(), colour: [0; 3] }];
        let provenance = Provenance { mpp_um: Some(0.25), types, ..Provenance::default() };
        let mut csv = Vec::new();
        let nuclei = [nucleus(1, Some(0)), nucleus(2, None)].into_iter();
        write_nuclei(nuclei, &provenance, &mut Vec::new(), &mut csv).expect("written");
        let mut table = NucleusTable::new(csv.as_slice()).expect("table");
        assert_eq!(table.measurements()[0], "Area um^2");
        let first = table.next_nucleus().expect("row").expect("nucleus");
        assert_eq!((first.centroid, first.area_px, first.class), ((1.13, 7.5), 15.0, "a, \"b\""));
        assert_eq!((first.values[0], first.values[1]), (0.75, 0.0));
        let second = table.next_nucleus().expect("row").expect("nucleus");
        assert!(second.values[..9].iter().all(|value| value.is_nan()) && second.class.is_empty());
        assert_eq!(table.next_nucleus().expect("end"), None);
        assert!(NucleusTable::new(&b"a,b\n"[..]).is_err());
        let broken = "label,id,centroid_x_px,centroid_y_px,area_px,status\n1,x,1,two,3,model\n";
        let mut broken = NucleusTable::new(broken.as_bytes()).expect("table");
        assert!(broken.next_nucleus().expect_err("no number").to_string().contains("'two'"));
    }
}
