//! Settings from environment variables.
//!
//! A setting's variable is its name in capitals, with `CACHE_` in front unless it begins with that
//! anyway, and `__` between a section and a name: `CACHE_WARMING_ENABLED`, `CACHE_TTL`,
//! `CACHE_REDIS__POOL_SIZE`.

use figment::value::Value;

use super::layer::Layer;

/// Settings outside the sections.
const TOP: [&str; 8] = [
    "cache_warming_enabled",
    "cache_warming_interval_seconds",
    "cache_eviction_policy",
    "cache_max_tracked_entries",
    "cache_memory_pressure_threshold",
    "ttl",
    "max_stale",
    "embedded",
];

const SECTIONS: [&str; 6] = ["near", "redis", "postgres", "sqlite", "compression", "warm"];

/// What the environment says.
pub(super) struct Environment {
    /// One layer a variable, so that an error names the variable.
    pub(super) layers: Vec<Layer>,
    /// Variables that look like settings and are none. The prefix is not this program's alone, so
    /// they are no fault; a slip may be among them, so the doctor lists them.
    pub(super) ignored: Vec<String>,
}

pub(super) fn read(variables: impl Iterator<Item = (String, String)>) -> Environment {
    let mut environment = Environment { layers: Vec::new(), ignored: Vec::new() };
    for (name, value) in variables {
        if !name.starts_with("CACHE_") || name == "CACHE_CONFIG" || value.is_empty() {
            continue;
        }
        match setting_of(&name) {
            Some(path) => {
                // Never fails: what is no number, truth value or list is a text.
                let value = value.parse().unwrap_or(Value::from(value));
                environment.layers.push(Layer::setting(name, &path, value));
            }
            None => environment.ignored.push(name),
        }
    }
    environment.ignored.sort_unstable();
    environment
}

/// The setting that a variable is for. A name that a section does not have is still taken, and
/// refused with the rest of the section's unknown names.
fn setting_of(variable: &str) -> Option<String> {
    let name = variable.to_ascii_lowercase();
    let short = name.strip_prefix("cache_")?;
    if let Some(top) = TOP.iter().find(|top| **top == name || **top == short) {
        return Some((*top).to_owned());
    }
    let (section, setting) = short.split_once("__")?;
    let is_setting = SECTIONS.contains(&section) && !setting.is_empty();
    is_setting.then(|| format!("{section}.{}", setting.replace("__", ".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_setting_in_capitals() {
        for (variable, setting) in [
            ("CACHE_WARMING_ENABLED", Some("cache_warming_enabled")),
            ("CACHE_TTL", Some("ttl")),
            ("CACHE_REDIS__POOL_SIZE", Some("redis.pool_size")),
            ("CACHE_REDIS__NO_SUCH", Some("redis.no_such")),
            ("CACHE_WARM__HEADERS__AUTHORIZATION", Some("warm.headers.authorization")),
            ("CACHE_TEST_LEFT_OUT", None),
            ("CACHE_OTHER__TTL", None),
            ("CACHE_REDIS", None),
            ("CACHE_", None),
        ] {
            assert_eq!(setting_of(variable).as_deref(), setting, "{variable}");
        }
    }

    #[test]
    fn what_is_no_setting_is_noted_and_not_an_error() {
        let variables = ["CACHE_WARMING_ENABLD", "CACHE_TTL", "CACHE_CONFIG", "HOME"];
        let read = read(variables.into_iter().map(|name| (name.to_owned(), "1".to_owned())));
        assert_eq!(read.ignored, ["CACHE_WARMING_ENABLD"]);
        assert_eq!(read.layers.len(), 1);
    }
}
