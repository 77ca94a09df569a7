//! Whether a caller has finished, by how it sounds: a neural model that the user brings.
//! Knows sound and a model's file. Knows neither calls nor what is made of the answer.

mod log_mel;

pub use log_mel::{BANDS, COLUMNS, HZ, LogMel, SAMPLES};

use rten::{Dimension, Model, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::AsView as _;
use std::{fmt, fs, path::Path, sync::Arc};

/// A file beyond this is no model of this kind: those known have 9 MB.
const LARGEST: u64 = 256 << 20;

/// Why there is no model.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    Read(std::io::Error),
    /// It is larger than 256 MiB.
    TooLarge,
    /// It is no ONNX model, or one with operators that are not known here.
    Load(String),
    /// It wants something else than a picture of 80 mel bands over 8 s, or says something else than one number.
    Shape(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "it cannot be read: {error}"),
            Self::TooLarge => write!(f, "it has more than {} MiB", LARGEST >> 20),
            Self::Load(reason) => write!(f, "it is no ONNX model that can be run here: {reason}"),
            Self::Shape(reason) => write!(f, "it is no end-of-turn model: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

/// A model of the kind of smart-turn v3: one input of shape `[1, 80, 800]`, the logarithm of the mel spectrum of the last
/// 8 s, and one output, the probability that the speaker has finished. One thread's own; takes some 50 ms of it per answer.
pub struct TurnModel {
    model: Arc<Model>,
    input: NodeId,
    output: NodeId,
    threads: Arc<ThreadPool>,
    picture: LogMel,
}

impl TurnModel {
    /// Reads a model and asks it once, so that one that does not fit is known at the start.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn load(path: &Path) -> Result<Self, Error> {
        if fs::metadata(path).map_err(Error::Read)?.len() > LARGEST {
            return Err(Error::TooLarge);
        }
        let file = fs::read(path).map_err(Error::Read)?;
        let model = Model::load(file).map_err(|error| Error::Load(error.to_string()))?;
        let (&[input], &[output]) = (model.input_ids(), model.output_ids()) else {
            let (inputs, outputs) = (model.input_ids().len(), model.output_ids().len());
            return Err(Error::Shape(format!(
                "it has {inputs} inputs and {outputs} outputs, not one of each"
            )));
        };
        let shape = model.node_info(input).and_then(|node| node.shape()).unwrap_or_default();
        let fits = |(found, wanted): (&Dimension, usize)| match found {
            Dimension::Fixed(size) => *size == wanted,
            Dimension::Symbolic(_) => true,
        };
        if shape.len() != 3 || !shape.iter().zip([1, BANDS, COLUMNS]).all(fits) {
            return Err(Error::Shape(format!(
                "its input has the shape {}, not [1, {BANDS}, {COLUMNS}]",
                written(&shape)
            )));
        }
        // Its own pool, or the library takes a thread of every core.
        let threads = Arc::new(ThreadPool::with_num_threads(1));
        let mut model = Self { model: Arc::new(model), input, output, threads, picture: LogMel::default() };
        model.probability(&[])?;
        Ok(model)
    }

    /// Another one for another thread; both share the weights.
    pub fn share(&self) -> Self {
        Self {
            model: Arc::clone(&self.model),
            input: self.input,
            output: self.output,
            threads: Arc::new(ThreadPool::with_num_threads(1)),
            picture: LogMel::default(),
        }
    }

    /// How likely it is that the speaker has finished, from 0 to 1, after these samples at 16 kHz. The last 8 s count.
    ///
    /// # Errors
    /// When the model fails, or answers something that is no probability.
    pub fn probability(&mut self, samples: &[i16]) -> Result<f32, Error> {
        let picture = self.picture.of(samples);
        let input = Value::from_shape(&[1, BANDS, COLUMNS], picture)
            .map_err(|error| Error::Shape(error.to_string()))?;
        let mut options = RunOptions::default();
        options.thread_pool = Some(Arc::clone(&self.threads));
        let answers = self
            .model
            .run(vec![(self.input, ValueOrView::from(input))], &[self.output], Some(options))
            .map_err(|error| Error::Shape(error.to_string()))?;
        let number = |answer: &Value| {
            let Value::FloatTensor(numbers) = answer else { return None };
            numbers.item().copied() // Where there is one alone.
        };
        answers
            .first()
            .and_then(number)
            .filter(|probability| (0.0..=1.0).contains(probability))
            .ok_or_else(|| Error::Shape("it does not answer with one probability".to_owned()))
    }
}

fn written(shape: &[Dimension]) -> String {
    let sizes = shape.iter().map(|dimension| match dimension {
        Dimension::Fixed(size) => size.to_string(),
        Dimension::Symbolic(name) => name.clone(),
    });
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}

impl fmt::Debug for TurnModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TurnModel")
    }
}
