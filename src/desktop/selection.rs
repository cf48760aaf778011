//! Selected objects, the queue of nuclei to review, and what a person does to objects.

use super::app_state::AppState;
use super::command::Command;
use super::drawn_nucleus::drawn_nucleus;
use crate::error::{Error, Result};
use crate::instances::Nucleus;
use crate::model::NucleusType;
use crate::raster::{Point, Polygon, rings_hold};
use crate::review::{MarkStatus, ReviewCommand, ReviewObject, closed_stroke, merged, split};
use crate::slide::SlideBounds;
use crate::viewer::ScreenPoint;

/// Least scale at which the queue shows a nucleus, screen pixels an image pixel.
const QUEUE_SCALE: f64 = 2.0;

/// An object that was selected, and a point inside, by which it is found again: numbers of nuclei
/// change with the blocks, and objects by decisions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SelectedObject {
    pub at: Point,
    pub object: ReviewObject,
}

/// Place of a nucleus in the queue: how far its mean probability lies from the threshold, and its
/// centroid.
type QueuePlace = (f64, f64, f64);

/// What is selected.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Selection {
    pub objects: Vec<SelectedObject>,
    /// Where the queue is.
    queue_place: Option<QueuePlace>,
}

impl AppState {
    /// The object that a card describes: the selected one, if it is one alone.
    #[must_use]
    pub fn selected(&self) -> Option<&ReviewObject> {
        match &self.selection.objects[..] {
            [one] => Some(&one.object),
            _ => None,
        }
    }

    /// Number of selected objects.
    #[must_use]
    pub fn selected_count(&self) -> usize {
        self.selection.objects.len()
    }

    /// Executes a command about objects or regions.
    pub(super) fn execute_edit(&mut self, command: &Command) -> Result<()> {
        match *command {
            Command::Choose { x, y } => self.choose(ScreenPoint { x, y }),
            Command::ChooseMore { x, y } => self.choose_more(ScreenPoint { x, y }),
            Command::Accept(at) => self.decide(at, ReviewCommand::Accept, "Accepted.")?,
            Command::Reject(at) => self.decide(at, ReviewCommand::Reject, "Rejected.")?,
            Command::Forget(at) => self.decide(at, ReviewCommand::Forget, "Taken back.")?,
            Command::Add(ref stroke) => {
                let nucleus = self.drawn(stroke)?;
                let at = inner_point(&nucleus.polygons);
                self.change(ReviewCommand::Add(nucleus))?;
                "Added.".clone_into(&mut self.status);
                self.select_at(at);
            }
            Command::Redraw { object, ref stroke } => {
                let old = self.one_object(object)?;
                let new = self.drawn(stroke)?;
                self.replace(vec![old], vec![new], "Redrawn.")?;
            }
            Command::Split { object, ref stroke } => self.split(object, stroke)?,
            Command::Merge(ref points) => self.merge(points)?,
            Command::Undo => {
                let name = self.review.undo_name();
                let is_done = self.review.undo();
                self.report_step("Undone", name, is_done);
            }
            Command::Redo => {
                let name = self.review.redo_name();
                let is_done = self.review.redo();
                self.report_step("Done again", name, is_done);
            }
            Command::Next => self.next_in_queue(true)?,
            Command::Previous => self.next_in_queue(false)?,
            ref other => self.execute_painting(other)?,
        }
        Ok(())
    }

    fn report_step(&mut self, what: &str, name: Option<&'static str>, is_done: bool) {
        self.revision += u64::from(is_done);
        self.status = match name {
            Some(name) if is_done => format!("{what}: {name}."),
            _ => "There is nothing more.".to_owned(),
        };
    }

    /// The object at a point of the image.
    fn object_at(&self, point: Point) -> Option<ReviewObject> {
        self.with_shown(|shown| shown.at(point))
    }

    fn select_at(&mut self, point: Point) {
        // Anything else looks it up after the change: `refresh_selection` keeps what is there.
        let object = self.object_at(point);
        self.selection.objects =
            object.map(|object| SelectedObject { at: point, object }).into_iter().collect();
    }

    fn choose(&mut self, point: ScreenPoint) {
        self.select_at(self.view.to_image(point));
        self.status = self.selected().map(|object| self.description(object)).unwrap_or_default();
    }

    fn choose_more(&mut self, point: ScreenPoint) {
        let at = self.view.to_image(point);
        let Some(object) = self.object_at(at) else { return };
        let objects = &mut self.selection.objects;
        let before = objects.len();
        objects.retain(|other| other.object.id != object.id);
        if objects.len() == before {
            objects.push(SelectedObject { at, object });
        }
        self.status = format!("{} selected.", self.selection.objects.len());
    }

    /// Area, probability and decision of an object, a sentence.
    pub(super) fn description(&self, object: &ReviewObject) -> String {
        let nucleus = &object.nucleus;
        let area = match self.mpp_um() {
            Some(mpp) => format!("{:.1} µm²", nucleus.area_px as f64 * mpp * mpp),
            None => format!("{} px", nucleus.area_px),
        };
        let probability = match nucleus.measurements {
            Some(measured) if measured.mean_probability > 0.0 => {
                format!(", mean probability {:.2}", measured.mean_probability)
            }
            _ => String::new(),
        };
        let name = match object.mark() {
            Some(mark) => format!("Decision {mark}"),
            None => format!("Nucleus {}", nucleus.label),
        };
        let class = self.with_shown(|shown| {
            let of = NucleusType::of(shown.types, nucleus.class);
            of.map_or(String::new(), |of| format!(", {}", of.name))
        });
        let status = object.status.map(|status| format!(", {}", status.name()));
        format!("{name}{class}: area {area}{probability}{}.", status.unwrap_or_default())
    }

    /// Looks the selected objects up again after a change; those that are gone are not selected
    /// any more.
    pub(super) fn refresh_selection(&mut self) {
        let mut objects = std::mem::take(&mut self.selection.objects);
        objects.retain_mut(|selected| match self.object_at(selected.at) {
            Some(object) => {
                selected.object = object;
                true
            }
            None => false,
        });
        objects.dedup_by_key(|selected| selected.object.id);
        self.selection.objects = objects;
    }

    /// The object at a point of the screen, or all that are selected.
    fn objects(&self, at: Option<ScreenPoint>) -> Result<Vec<ReviewObject>> {
        let Some(point) = at else {
            let objects = &self.selection.objects;
            if objects.is_empty() {
                return Err(Error::invalid("Select a nucleus first: click it"));
            }
            return Ok(objects.iter().map(|selected| selected.object.clone()).collect());
        };
        let object = self.object_at(self.view.to_image(point));
        object.map(|object| vec![object]).ok_or_else(|| Error::invalid("There is no nucleus here"))
    }

    fn one_object(&self, at: Option<ScreenPoint>) -> Result<ReviewObject> {
        let mut objects = self.objects(at)?;
        match (objects.pop(), objects.is_empty()) {
            (Some(object), true) => Ok(object),
            _ => Err(Error::invalid("Select one nucleus alone")),
        }
    }

    fn decide(
        &mut self,
        at: Option<ScreenPoint>,
        command: fn(ReviewObject) -> ReviewCommand,
        done: &str,
    ) -> Result<()> {
        for object in self.objects(at)? {
            self.change(command(object))?;
        }
        done.clone_into(&mut self.status);
        if let Some(point) = at {
            self.select_at(self.view.to_image(point));
        }
        Ok(())
    }

    /// The nucleus inside a stroke.
    fn drawn(&self, stroke: &[[f64; 2]]) -> Result<Nucleus> {
        let polygons = closed_stroke(&points(stroke))?;
        self.measured(polygons)
    }

    fn measured(&self, polygons: Vec<Polygon>) -> Result<Nucleus> {
        let document = self.document.as_deref();
        let document = document.ok_or_else(|| Error::invalid("Nothing is open yet"))?;
        let bounds = SlideBounds::of_points(polygons.iter().flatten().flatten());
        if !bounds.intersects(&self.whole()) {
            return Err(Error::invalid("This lies outside the image"));
        }
        drawn_nucleus(document, polygons, self.mpp_um())
    }

    fn replace(
        &mut self,
        old: Vec<ReviewObject>,
        new: Vec<Nucleus>,
        done: impl Into<String>,
    ) -> Result<()> {
        let at = new.first().map(|nucleus| inner_point(&nucleus.polygons));
        self.change(ReviewCommand::Replace { old, new })?;
        self.status = done.into();
        if let Some(at) = at {
            self.select_at(at);
        }
        Ok(())
    }

    fn split(&mut self, object: Option<ScreenPoint>, stroke: &[[f64; 2]]) -> Result<()> {
        let stroke = points(stroke);
        let old = match object {
            Some(_) => self.one_object(object)?,
            None => self.crossed(&stroke)?,
        };
        let mut parts = Vec::new();
        for polygons in split(&old.nucleus.polygons, &stroke)? {
            parts.push(self.measured(polygons)?);
        }
        let done = format!("Split into {}.", parts.len());
        self.replace(vec![old], parts, done)
    }

    /// The selected object if a stroke passes through it, else the one in which the longest part of
    /// the stroke lies.
    fn crossed(&self, stroke: &[Point]) -> Result<ReviewObject> {
        let mut hits: Vec<(ReviewObject, usize)> = Vec::new();
        for ends in stroke.windows(2) {
            let length = (ends[1].x - ends[0].x).hypot(ends[1].y - ends[0].y);
            let steps = length.ceil().clamp(1.0, 1000.0) as usize;
            for step in 0..steps {
                let t = (step as f64 + 0.5) / steps as f64;
                let x = ends[0].x + (ends[1].x - ends[0].x) * t;
                let y = ends[0].y + (ends[1].y - ends[0].y) * t;
                let Some(object) = self.object_at(Point { x, y }) else { continue };
                match hits.iter_mut().find(|(other, _)| other.id == object.id) {
                    Some((_, count)) => *count += 1,
                    None => hits.push((object, 1)),
                }
            }
        }
        if let Some(selected) = self.selected()
            && hits.iter().any(|(object, _)| object.id == selected.id)
        {
            return Ok(selected.clone());
        }
        let longest = hits.into_iter().max_by_key(|(_, count)| *count);
        let object = longest.map(|(object, _)| object);
        object.ok_or_else(|| Error::invalid("The stroke cuts no nucleus: draw across one"))
    }

    fn merge(&mut self, places: &[ScreenPoint]) -> Result<()> {
        let mut old = Vec::new();
        if places.is_empty() {
            old = self.objects(None)?;
        }
        for place in places {
            old.extend(self.objects(Some(*place))?);
        }
        old.sort_by_key(|object| object.id);
        old.dedup_by_key(|object| object.id);
        if old.len() < 2 {
            return Err(Error::invalid("Select two nuclei or more: click them with Shift held"));
        }
        let outlines: Vec<_> = old.iter().map(|object| object.nucleus.polygons.clone()).collect();
        let new = self.measured(merged(&outlines)?)?;
        let done = format!("Merged {}.", old.len());
        self.replace(old, vec![new], done)
    }

    /// Selects the next nucleus of the model without a decision, the least certain first.
    fn next_in_queue(&mut self, forward: bool) -> Result<()> {
        let here = self.selection.queue_place;
        let is_further = |place: &QueuePlace, from: &QueuePlace| {
            let order = compare(*place, *from);
            if forward { order.is_gt() } else { order.is_lt() }
        };
        let threshold = f64::from(self.threshold());
        let doubt = |probability: f64| (probability - threshold).abs();
        let best = self.with_shown(|shown| {
            let nuclei = shown.counted();
            let mut best: Option<(QueuePlace, u32)> = None;
            for (label, nucleus) in nuclei.index.all() {
                let (x, y) = nucleus.centroid;
                let place = (doubt(nucleus.probability()), x, y);
                if here.is_some_and(|here| !is_further(&place, &here))
                    || nuclei.hidden.holds(label)
                    || !nuclei.is_inside((x, y))
                {
                    continue;
                }
                if best.is_none_or(|(other, _)| is_further(&other, &place)) {
                    best = Some((place, label));
                }
            }
            let (place, label) = best?;
            let (x, y) = (place.1, place.2);
            let near = SlideBounds::at_point(Point { x, y }).expanded(1.0);
            let object = nuclei.near(near).find(|object| object.id == label)?;
            Some((place, object))
        });
        let Some((place, object)) = best else {
            return Err(Error::invalid(match here {
                None => "There is no nucleus without a decision",
                Some(_) if forward => "This was the last nucleus without a decision",
                Some(_) => "This is the first nucleus without a decision",
            }));
        };
        let at = inner_point(&object.nucleus.polygons);
        self.view.go_to(Point { x: place.1, y: place.2 }, QUEUE_SCALE);
        self.status = self.description(&object);
        self.selection =
            Selection { objects: vec![SelectedObject { at, object }], queue_place: Some(place) };
        Ok(())
    }

    /// Status of a selected object, none for a nucleus of the model.
    #[must_use]
    pub fn selected_status(&self) -> Option<MarkStatus> {
        self.selected().and_then(|object| object.status)
    }
}

fn compare(a: QueuePlace, b: QueuePlace) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2))
}

fn points(stroke: &[[f64; 2]]) -> Vec<Point> {
    stroke.iter().copied().map(Point::from).collect()
}

/// A point inside an outline: the middle of the longest span of a row through its middle.
fn inner_point(polygons: &[Polygon]) -> Point {
    let bounds = SlideBounds::of_points(polygons.iter().flatten().flatten());
    let centre = bounds.centre();
    if polygons.iter().any(|polygon| rings_hold(polygon, centre.x, centre.y)) {
        return centre;
    }
    let mut crossings = Vec::new();
    for ring in polygons.iter().flatten() {
        for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            if (a.y > centre.y) != (b.y > centre.y) {
                crossings.push(a.x + (centre.y - a.y) / (b.y - a.y) * (b.x - a.x));
            }
        }
    }
    crossings.sort_by(f64::total_cmp);
    let (spans, _) = crossings.as_chunks::<2>();
    let longest = spans.iter().max_by(|a, b| (a[1] - a[0]).total_cmp(&(b[1] - b[0])));
    longest.map_or(centre, |span| Point { x: f64::midpoint(span[0], span[1]), y: centre.y })
}
