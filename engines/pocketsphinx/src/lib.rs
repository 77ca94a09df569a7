//! pocketsphinx
