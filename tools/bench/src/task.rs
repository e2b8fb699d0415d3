//! What requests do, and what their answers must be.

use std::sync::Arc;

use crate::connection::Request;
use crate::objects::Object;
use crate::plan::{Endpoint, Kind, Scenario};
use crate::reply::Reply;
use crate::tally::Gain;
use crate::uploads::{Step, Upload};
use crate::worker::Worker;

/// Contents of further versions of an object, and of parts, have numbers apart from those of the first ones.
const VERSION_SHIFT: u32 = 40;
const PART_SHIFT: u32 = 24;
/// With one request.
const CLEAN_BATCH: usize = 1000;

/// What a phase is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    MakeBucket,
    EnableVersions,
    /// Makes objects until as many are there as the plan says.
    Prepare,
    Measure,
    /// Gives up uploads that were begun.
    Abort,
    /// Deletes what was made.
    Clean,
}

impl Work {
    pub(crate) fn may_not_fail(self) -> bool {
        self != Work::Measure
    }
}

/// What there is to do for a connection.
pub(crate) enum Next {
    Task(Task),
    /// Something that was begun goes on.
    Step(Task),
    /// Nothing before another one has ended.
    Wait,
    Done,
}

pub(crate) enum Task {
    MakeBucket,
    EnableVersions,
    Put(Object),
    Get(Arc<Object>),
    Head(Arc<Object>),
    /// The page behind this number's key, of so many keys if that is known.
    List(u64, Option<u64>),
    Delete(Arc<Object>),
    MultiDelete(Vec<Arc<Object>>),
    CreateUpload(Object),
    UploadPart {
        upload: u64,
        part: usize,
        size: u64,
    },
    CompleteUpload {
        upload: u64,
        etags: Vec<String>,
    },
    AbortUpload(Upload),
}

impl Task {
    /// What it is counted as.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Task::Put(_) => Some(Kind::Put),
            Task::Get(_) => Some(Kind::Get),
            Task::Head(_) => Some(Kind::Head),
            Task::List(..) => Some(Kind::List),
            Task::Delete(_) => Some(Kind::Delete),
            Task::MultiDelete(_) => Some(Kind::MultiDelete),
            Task::CreateUpload(_) => Some(Kind::CreateUpload),
            Task::UploadPart { .. } => Some(Kind::UploadPart),
            Task::CompleteUpload { .. } => Some(Kind::CompleteUpload),
            Task::MakeBucket | Task::EnableVersions | Task::AbortUpload(_) => None,
        }
    }
}

impl Worker {
    /// `may_begin`: whether anything new may be begun now.
    pub(crate) fn next_task(&mut self, work: Work, may_begin: bool) -> Next {
        if work == Work::Measure && self.plan.scenario == Scenario::Multipart {
            return self.next_of_uploads(may_begin);
        }
        if !may_begin {
            return Next::Done;
        }
        let task = match work {
            Work::MakeBucket => Some(Task::MakeBucket),
            Work::EnableVersions => Some(Task::EnableVersions),
            Work::Prepare => self.next_to_prepare().map(Task::Put),
            Work::Measure => self.next_to_measure(),
            Work::Abort => self.uploads.pop().map(Task::AbortUpload),
            Work::Clean => self.next_batch(CLEAN_BATCH),
        };
        task.map_or(Next::Done, Next::Task)
    }

    fn next_to_measure(&mut self) -> Option<Task> {
        match self.plan.scenario {
            Scenario::Put => Some(self.new_put()),
            Scenario::Get => self.objects.pick(&mut self.random).map(Task::Get),
            Scenario::Head => self.objects.pick(&mut self.random).map(Task::Head),
            Scenario::List => Some(self.next_page()),
            Scenario::Delete => self.objects.take_last(1).pop().map(Task::Delete),
            Scenario::MultiDelete => self.next_batch(self.plan.batch),
            Scenario::Mixed | Scenario::Versioned => {
                // What the last objects would be needed for is done by making more.
                Some(self.next_of_mix().unwrap_or_else(|| self.new_put()))
            }
            Scenario::Multipart | Scenario::Fill => None,
        }
    }

    /// Objects that are to be there before anything is measured are numbered first.
    fn next_to_prepare(&mut self) -> Option<Object> {
        let number = self.next_object / self.plan.versions * self.plan.threads as u64 + self.number;
        if number >= self.plan.objects {
            return None;
        }
        let version = self.next_object % self.plan.versions;
        self.next_object += 1;
        Some(self.object(number, number | version << VERSION_SHIFT))
    }

    /// Takes the objects for granted that a run before made.
    pub(crate) fn believe(&mut self) {
        while let Some(object) = self.next_to_prepare() {
            self.objects.add(object);
        }
    }

    fn object(&self, number: u64, content: u64) -> Object {
        Object { number, content, size: self.plan.sizes.of(content), version: None }
    }

    fn new_object(&mut self) -> Object {
        let number = self.next_object / self.plan.versions * self.plan.threads as u64 + self.number;
        self.next_object += self.plan.versions;
        self.object(number, number)
    }

    fn new_put(&mut self) -> Task {
        if self.plan.scenario == Scenario::Versioned
            && let Some(old) = self.objects.pick(&mut self.random)
        {
            let version = self.plan.versions + self.next_version;
            self.next_version += 1;
            return Task::Put(self.object(old.number, old.number | version << VERSION_SHIFT));
        }
        Task::Put(self.new_object())
    }

    fn next_page(&mut self) -> Task {
        let objects = self.plan.objects;
        let after = self.random.below(objects);
        let is_exact = self.plan.scenario == Scenario::List;
        Task::List(after, is_exact.then(|| self.plan.page.min(objects - 1 - after)))
    }

    fn next_batch(&mut self, max: usize) -> Option<Task> {
        let batch = self.objects.take_last(max);
        (!batch.is_empty()).then_some(Task::MultiDelete(batch))
    }

    fn next_of_mix(&mut self) -> Option<Task> {
        let total = self.plan.mix.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.random.below(total);
        let mut kinds = self.plan.mix.iter();
        let kind = kinds.find_map(|(kind, weight)| {
            let is_it = drawn < *weight;
            drawn = drawn.wrapping_sub(*weight);
            is_it.then_some(*kind)
        });
        match kind? {
            Kind::Get => self.objects.pick(&mut self.random).map(Task::Get),
            Kind::Head => self.objects.pick(&mut self.random).map(Task::Head),
            Kind::List => Some(self.next_page()),
            Kind::Delete => self.objects.take(&mut self.random).map(Task::Delete),
            Kind::MultiDelete => {
                let batch: Vec<_> =
                    std::iter::from_fn(|| self.objects.take(&mut self.random)).take(self.plan.batch).collect();
                (!batch.is_empty()).then_some(Task::MultiDelete(batch))
            }
            Kind::Put | Kind::CreateUpload | Kind::UploadPart | Kind::CompleteUpload => Some(self.new_put()),
        }
    }

    fn next_of_uploads(&mut self, may_begin: bool) -> Next {
        if let Some((upload, step)) = self.uploads.step() {
            return Next::Step(match step {
                Step::Part(part, size) => Task::UploadPart { upload, part, size },
                Step::Complete(etags) => Task::CompleteUpload { upload, etags },
            });
        }
        if self.creating > 0 || !may_begin {
            // There will be parts for this connection, or whoever does the last ones completes the upload.
            return if self.creating == 0 && self.uploads.are_over() { Next::Done } else { Next::Wait };
        }
        self.creating += 1;
        let mut object = self.new_object();
        object.content = object.number << PART_SHIFT;
        Next::Task(Task::CreateUpload(object))
    }

    pub(crate) fn request(&mut self, endpoint: &Endpoint, task: &Task) -> Request {
        let requests = &mut self.requests;
        match task {
            Task::MakeBucket => requests.make_bucket(endpoint),
            Task::EnableVersions => requests.enable_versions(endpoint),
            Task::Put(object) => requests.put(endpoint, object),
            Task::Get(object) => requests.get(endpoint, object),
            Task::Head(object) => requests.head(endpoint, object),
            Task::List(after, _) => requests.list(endpoint, *after),
            Task::Delete(object) => requests.delete(endpoint, object),
            Task::MultiDelete(objects) => requests.delete_many(endpoint, objects),
            Task::CreateUpload(object) => requests.create_upload(endpoint, object),
            Task::UploadPart { upload, part, size } => {
                let upload = self.uploads.get(*upload).expect("its steps are of an upload that is there");
                requests.part(endpoint, &upload.object, &upload.id, *part, *size)
            }
            Task::CompleteUpload { upload, etags } => {
                let upload = self.uploads.get(*upload).expect("its steps are of an upload that is there");
                requests.complete_upload(endpoint, &upload.object, &upload.id, etags)
            }
            Task::AbortUpload(upload) => requests.abort_upload(endpoint, &upload.object, &upload.id),
        }
    }

    /// Takes note of how a task ended. Errors: why there was no answer, or why it is not what it should be.
    pub(crate) fn accept(&mut self, task: Task, answer: Result<&Reply, String>) -> Result<Gain, String> {
        self.creating -= usize::from(matches!(task, Task::CreateUpload(_)));
        let judged = answer.and_then(|reply| Ok((reply, self.judge(&task, reply)?)));
        let (reply, gain) = match (&task, judged) {
            (_, Ok(judged)) => judged,
            (Task::UploadPart { upload, .. } | Task::CompleteUpload { upload, .. }, Err(why)) => {
                self.uploads.give_up(*upload);
                return Err(why);
            }
            (_, Err(why)) => return Err(why),
        };
        match task {
            Task::Put(object) if self.keeps_count() => {
                self.objects.add(Object { version: reply.version.clone(), ..object });
            }
            Task::CreateUpload(object) => {
                let id = between(&reply.body, "<UploadId>", "</UploadId>").ok_or("no upload id in the answer")?;
                self.uploads.add(Upload::new(object, id, self.plan.part_bytes));
            }
            Task::UploadPart { upload, part, .. } => {
                self.uploads.has_part(upload, part, reply.etag.clone().expect("an answer without one was refused"));
            }
            Task::CompleteUpload { upload, .. } => {
                if let (Some(upload), true) = (self.uploads.remove(upload), self.keeps_count()) {
                    self.objects.add(Object { version: reply.version.clone(), ..upload.object });
                }
            }
            _ => {}
        }
        Ok(gain)
    }

    /// Objects that nobody will ask for again are not remembered: there may be many.
    fn keeps_count(&self) -> bool {
        !self.plan.keep || !matches!(self.plan.scenario, Scenario::Put | Scenario::Multipart | Scenario::Fill)
    }

    fn judge(&self, task: &Task, reply: &Reply) -> Result<Gain, String> {
        let is_fine = match task {
            // It may be there; whose it is will show.
            Task::MakeBucket => matches!(reply.status, 200 | 409),
            Task::Delete(_) => reply.status == 204,
            // It may have been completed, and nobody heard of it.
            Task::AbortUpload(_) => matches!(reply.status, 204 | 404),
            _ => reply.status == 200,
        };
        if !is_fine {
            return Err(describe(reply));
        }
        let text_has = |mark: &str| reply.body.windows(mark.len()).any(|window| window == mark.as_bytes());
        match task {
            Task::Put(object) if self.plan.scenario == Scenario::Versioned && reply.version.is_none() => {
                Err(format!("no version of key {} in the answer", object.number))
            }
            Task::Put(object) => Ok(Gain { bytes: object.size, keys: 0 }),
            Task::UploadPart { size, .. } => {
                if reply.etag.is_none() {
                    return Err("a part without an ETag".to_owned());
                }
                Ok(Gain { bytes: *size, keys: 0 })
            }
            Task::Get(object) if reply.body_bytes != object.size => {
                Err(format!("{} bytes of {} came", reply.body_bytes, object.size))
            }
            Task::Get(_) if !reply.is_right => Err("the body is not what was written".to_owned()),
            Task::Get(object) => Ok(Gain { bytes: object.size, keys: 0 }),
            Task::List(_, expected) => {
                let keys = count(&reply.body, b"<Key>");
                match expected {
                    Some(expected) if keys != *expected => Err(format!("{keys} keys of {expected} were listed")),
                    _ => Ok(Gain { bytes: reply.body_bytes, keys }),
                }
            }
            Task::Delete(_) => Ok(Gain { bytes: 0, keys: 1 }),
            Task::MultiDelete(_) if text_has("<Error>") => Err(format!("a key was not deleted: {}", text(&reply.body))),
            Task::MultiDelete(objects) => Ok(Gain { bytes: 0, keys: objects.len() as u64 }),
            // The status was sent before it was known how it ends.
            Task::CompleteUpload { .. } if text_has("<Error>") || text_has("<Code>") => Err(describe(reply)),
            Task::MakeBucket
            | Task::EnableVersions
            | Task::Head(_)
            | Task::CreateUpload(_)
            | Task::CompleteUpload { .. }
            | Task::AbortUpload(_) => Ok(Gain::default()),
        }
    }
}

fn describe(reply: &Reply) -> String {
    match between(&reply.body, "<Code>", "</Code>") {
        Some(code) => format!("{} {code}", reply.status),
        None => format!("status {} {}", reply.status, text(&reply.body)).trim_end().to_owned(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(200).collect()
}

fn between(bytes: &[u8], before: &str, after: &str) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.split_once(before)?.1.split_once(after)?.0.to_owned())
}

/// How often `mark`, which begins with a byte that it does not hold again, stands in `bytes`.
fn count(bytes: &[u8], mark: &[u8]) -> u64 {
    bytes.split(|byte| *byte == mark[0]).skip(1).filter(|piece| piece.starts_with(&mark[1..])).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_counted_and_found() {
        assert_eq!(count(b"<Key>a</Key><Key>b</Key><Keys>", b"<Key>"), 2);
        assert_eq!(count(b"", b"<Key>"), 0);
        assert_eq!(between(b"<a><b>x</b></a>", "<b>", "</b>").as_deref(), Some("x"));
        assert_eq!(between(b"<b>x", "<b>", "</b>"), None);
    }
}
