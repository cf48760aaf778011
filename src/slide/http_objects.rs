//! The objects of a slide on an HTTP server: several are requested at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::http_source::{ATTEMPTS, FIRST_ATTEMPTS, agent, object_part, with_retries};
use super::object_source::ObjectSource;
use super::objects::ObjectRequest;
use crate::error::Result;

/// Requests at a time: chunks are small, and each costs a journey to the server.
const CONCURRENT_REQUESTS: usize = 16;

/// Bytes of an object; `None` when there is no such object.
type ObjectBytes = Result<Option<Vec<u8>>>;

/// Objects below an http(s) address.
pub(super) struct HttpObjects {
    agent: ureq::Agent,
    /// The address before its query, with a `/` at the end.
    base: String,
    /// The query with its `?`, or nothing.
    query: String,
}

impl HttpObjects {
    pub(super) fn new(url: &str) -> Self {
        let url = url.split('#').next().unwrap_or(url);
        let (base, query) = url.split_at(url.find('?').unwrap_or(url.len()));
        let base = format!("{}/", base.trim_end_matches('/'));
        Self { agent: agent(CONCURRENT_REQUESTS), base, query: query.to_owned() }
    }

    fn url(&self, key: &str) -> String {
        let mut url = self.base.clone();
        for byte in key.bytes() {
            if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
                url.push(char::from(byte));
            } else {
                url += &format!("%{byte:02X}");
            }
        }
        url + &self.query
    }

    fn read_one(&self, request: &ObjectRequest) -> ObjectBytes {
        let url = self.url(&request.key);
        // Some stores refuse names that they do not have: metadata are looked for by name.
        let name = request.key.rsplit('/').next().unwrap_or_default();
        let is_metadata = name.starts_with(".z") || name == "zarr.json";
        // They are the first to show that an address is wrong.
        let attempts = if is_metadata { FIRST_ATTEMPTS } else { ATTEMPTS };
        with_retries(attempts, || object_part(&self.agent, &url, &request.part, is_metadata))
    }
}

impl ObjectSource for HttpObjects {
    fn read(&self, requests: &[ObjectRequest]) -> Result<Vec<Option<Vec<u8>>>> {
        let next = AtomicUsize::new(0);
        let mut results: Vec<Mutex<Option<ObjectBytes>>> = Vec::new();
        results.resize_with(requests.len(), Mutex::default);
        std::thread::scope(|scope| {
            for _ in 0..CONCURRENT_REQUESTS.min(requests.len()) {
                scope.spawn(|| {
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(request) = requests.get(i) else { break };
                        let result = self.read_one(request);
                        if result.is_err() {
                            // The others need no longer begin.
                            next.store(requests.len(), Ordering::Relaxed);
                        }
                        *results[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                    }
                });
            }
        });
        let mut found = Vec::with_capacity(requests.len());
        let mut first_error = None;
        for result in results {
            match result.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some(Ok(bytes)) => found.push(bytes),
                Some(Err(error)) => first_error = first_error.or(Some(error)),
                None => {}
            }
        }
        first_error.map_or(Ok(found), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_put_before_the_query_of_an_address() {
        let objects = HttpObjects::new("https://x.org/a.zarr/?token=1#top");
        assert_eq!(objects.url("0/c/1"), "https://x.org/a.zarr/0/c/1?token=1");
        assert_eq!(HttpObjects::new("http://x/a").url("b c/.z"), "http://x/a/b%20c/.z");
    }
}
