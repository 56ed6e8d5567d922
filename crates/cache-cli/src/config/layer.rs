//! One place that settings come from, under a name that an error can show.

use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

/// Settings, and where they were found.
#[derive(Clone)]
pub(super) struct Layer {
    place: String,
    settings: Dict,
}

impl Layer {
    pub(super) fn new(place: impl Into<String>, settings: Dict) -> Self {
        Self { place: place.into(), settings }
    }

    /// A layer of one setting. `path` is its name, with dots between sections.
    pub(super) fn setting(place: impl Into<String>, path: &str, value: impl Into<Value>) -> Self {
        let settings = figment::util::nest(path, value.into()).into_dict().unwrap_or_default();
        Self::new(place, settings)
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.settings.clone()))
    }
}
