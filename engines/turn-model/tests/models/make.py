"""Makes the models that the tests load; needs the package `onnx`."""

from pathlib import Path

from onnx import TensorProto, helper, save

HERE = Path(__file__).parent


def model(bands, name):
    """The more of the 8 s is sound, the more it sounds finished: sigmoid(20 * (mean of the picture - 0.25))."""
    nodes = [
        helper.make_node("ReduceMean", ["input_features"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Add", ["mean", "offset"], ["shifted"]),
        helper.make_node("Mul", ["shifted", "slope"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    constants = [
        helper.make_tensor("offset", TensorProto.FLOAT, [1], [-0.25]),
        helper.make_tensor("slope", TensorProto.FLOAT, [1], [20.0]),
    ]
    wanted = helper.make_tensor_value_info("input_features", TensorProto.FLOAT, ["batch", bands, 800])
    said = helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph(nodes, "turn", [wanted], [said], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    save(made, HERE / name)


model(80, "amount-of-sound.onnx")
model(128, "other-bands.onnx")
