//! Models as files: one that answers, and those that are refused.

use std::path::Path;
use turn_model::{Error, HZ, TurnModel};

fn load(name: &str) -> Result<TurnModel, Error> {
    TurnModel::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name))
}

/// So many seconds of a buzz.
fn sound(seconds: usize) -> Vec<i16> {
    (0..seconds * HZ).map(|n| ((n % 160) as i16 - 80) * 100).collect()
}

#[test]
fn what_the_model_says_depends_on_what_it_hears() {
    let mut model = load("amount-of-sound.onnx").expect("a model");
    let mut shared = model.share();
    let mut heard = |seconds| model.probability(&sound(seconds)).expect("an answer");
    let (little, much) = (heard(1), heard(7));
    assert!(little < 0.25 && much > 0.75, "{little} and {much}");
    assert_eq!(shared.probability(&sound(1)).expect("an answer"), little);
}

#[test]
fn what_is_no_model_of_this_kind_is_refused_with_the_reason() {
    let reason = |name| load(name).expect_err("no model").to_string();
    assert!(reason("other-bands.onnx").contains("[batch, 128, 800]"), "{}", reason("other-bands.onnx"));
    assert!(reason("make.py").contains("no ONNX model"), "{}", reason("make.py"));
    assert!(reason("missing.onnx").contains("cannot be read"), "{}", reason("missing.onnx"));
}
