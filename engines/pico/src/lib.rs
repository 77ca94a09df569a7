//! pico
