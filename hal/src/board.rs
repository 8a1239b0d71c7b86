//! Board facts under an injectable root: model, temperature, memory, pressure.
