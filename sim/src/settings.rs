//! What models have in common when they are loaded: every setting is known, and checked before the first trial.

use serde::de::DeserializeOwned;

use crate::experiment::Model;

/// The model with these settings.
///
/// # Errors
/// If one is missing, or not known, or not as it must be.
pub(crate) fn load<M: Model + DeserializeOwned + 'static>(
    settings: toml::Table,
    check: impl FnOnce(&M) -> Result<(), String>,
) -> Result<Box<dyn Model>, String> {
    let model: M = settings.try_into().map_err(|error| error.to_string())?;
    check(&model)?;
    Ok(Box::new(model))
}
