"""Runs a model in another runtime for `sinter bench`: one JSON command a line in, one JSON answer a line out."""

import json
import os
import sys
import time


class NotAvailable(Exception):
    """The runtime is not here or cannot run the model; the text says why."""


def need(module):
    try:
        return __import__(module)
    except ImportError as e:
        raise NotAvailable(f"Python has no module {module} (pip install {module}): {e}")


class Onnxruntime:
    def __init__(self, job, arrays):
        ort = need("onnxruntime")
        self.version = ort.__version__
        if job["precision"] != "f32":
            raise NotAvailable("no bf16 arithmetic on this kind of processor")
        options = ort.SessionOptions()
        options.intra_op_num_threads = job["threads"]
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self.session = ort.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])
        # Bound once: no copies and no look-ups by name in the timed calls.
        self.binding = self.session.io_binding()
        self.keep = [ort.OrtValue.ortvalue_from_numpy(a) for a in arrays.values()]
        for name, value in zip(arrays, self.keep):
            self.binding.bind_ortvalue_input(name, value)
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name, "cpu")

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def outputs(self):
        return [v.numpy() for v in self.binding.get_outputs()]


class Openvino:
    def __init__(self, job, arrays):
        ov = need("openvino")
        self.version = ov.__version__.split("-")[0]
        core = ov.Core()
        model = core.read_model(job["model"])
        model.reshape({p: list(arrays[name_of(p, arrays)].shape) for p in model.inputs})
        config = {
            "INFERENCE_NUM_THREADS": job["threads"],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": job["precision"],
        }
        compiled = core.compile_model(model, "CPU", config)
        self.request = compiled.create_infer_request()
        for port in compiled.inputs:
            self.request.set_tensor(port, ov.Tensor(arrays[name_of(port, arrays)], shared_memory=False))
        self.ports = compiled.outputs

    def run(self):
        self.request.start_async()
        self.request.wait()

    def outputs(self):
        return [self.request.get_tensor(p).data for p in self.ports]


def name_of(port, arrays):
    for name in port.get_names():
        if name in arrays:
            return name
    raise NotAvailable(f"input {port.get_names()} is not one of {list(arrays)}")


class Ncnn:
    def __init__(self, job, arrays):
        import importlib.metadata
        import re
        import subprocess

        ncnn = need("ncnn")
        need("pnnx")
        self.version = importlib.metadata.version("ncnn")
        if job["precision"] != "f32":
            raise NotAvailable("only f32 is compared")
        import pnnx

        kinds = {"float32": "f32", "int64": "i64", "int32": "i32", "bool": "bool", "uint8": "u8", "float16": "f16"}
        shapes = []
        for name, a in arrays.items():
            if str(a.dtype) not in kinds:
                raise NotAvailable(f"input {name} has type {a.dtype}")
            shapes.append("[" + ",".join(str(d) for d in a.shape) + "]" + kinds[str(a.dtype)])
        stem = os.path.join(job["scratch"], "ncnn")
        os.symlink(job["model"], stem + ".onnx")
        exe = os.path.join(os.path.dirname(pnnx.__file__), "pnnx")
        done = subprocess.run(
            [exe, stem + ".onnx", "inputshape=" + ",".join(shapes), "fp16=0"],
            cwd=job["scratch"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        files = [stem + end for end in (".ncnn.param", ".ncnn.bin")]
        if done.returncode != 0 or not all(os.path.exists(f) for f in files):
            raise NotAvailable(f"pnnx could not convert the model (code {done.returncode})")
        self.net = ncnn.Net()
        self.net.opt.num_threads = job["threads"]
        self.net.opt.use_fp16_packed = False
        self.net.opt.use_fp16_storage = False
        self.net.opt.use_fp16_arithmetic = False
        self.net.opt.use_bf16_storage = False
        if self.net.load_param(files[0]) != 0 or self.net.load_model(files[1]) != 0:
            raise NotAvailable("ncnn has no layer for part of the converted model")
        # The converter's example says how each blob treats the batch axis.
        with open(stem + "_ncnn.py") as f:
            example = f.read()
        given = re.findall(r'ex\.input\("(\w+)", ncnn\.Mat\(.*?\.numpy\(\)(, batch_index=\d+)?\)', example)
        taken = re.findall(r'ex\.extract\("(\w+)"\)\s*\n\s*out\.append\(.*?\.numpy\((?:batch_index=(\d+))?\)', example)
        if len(given) != len(arrays) or not taken:
            raise NotAvailable("pnnx changed the signature of the model")
        self.inputs = []
        for (blob, batch), a in zip(given, arrays.values()):
            more = {"batch_index": int(batch.split("=")[1])} if batch else {}
            # ncnn's integers have 32 bits.
            a = a.astype("int32") if str(a.dtype) in ("int64", "bool", "uint8") else a
            self.inputs.append((blob, ncnn.Mat(a, **more).clone()))
        self.taken = taken
        self.results = []

    def run(self):
        ex = self.net.create_extractor()
        for blob, mat in self.inputs:
            ex.input(blob, mat)
        self.results = []
        for blob, _ in self.taken:
            code, mat = ex.extract(blob)
            if code != 0:
                raise NotAvailable(f"ncnn fails on the converted model with code {code}")
            self.results.append(mat)

    def outputs(self):
        more = [{"batch_index": int(b)} if b else {} for _, b in self.taken]
        return [m.numpy(**b) for m, b in zip(self.results, more)]


class Tract:
    def __init__(self, job, arrays):
        tract = need("tract")
        self.version = tract.version()
        if job["precision"] != "f32":
            raise NotAvailable("no bf16 arithmetic")
        if job["threads"] > 1:
            raise NotAvailable("the Python package runs on one thread only")
        model = tract.onnx().load(job["model"])
        names = [model.input_name(i) for i in range(model.input_count())]
        kinds = {"float32": "f32", "float64": "f64", "float16": "f16"}
        self.arrays = []
        for i, name in enumerate(names):
            a = arrays.get(name)
            if a is None:
                raise NotAvailable(f"input {name} is not one of {list(arrays)}")
            kind = kinds.get(str(a.dtype)) or str(a.dtype).replace("uint", "u").replace("int", "i")
            model.set_input_fact(i, ",".join([str(d) for d in a.shape] + [kind]))
            self.arrays.append(tract.Tensor.from_numpy(a))
        model.analyse()
        self.model = model.into_model().into_runnable()
        self.results = []

    def run(self):
        self.results = self.model.run(self.arrays)

    def outputs(self):
        return [r.to_numpy() for r in self.results]


class OpenvinoGenai:
    """A language model: it takes a GGUF file or a folder of OpenVINO's own."""

    def __init__(self, job, arrays):
        self.np, ov, self.genai = need("numpy"), need("openvino"), need("openvino_genai")
        self.version, self.tensor = self.genai.__version__.split("-")[0], ov.Tensor
        self.pipe = self.genai.LLMPipeline(
            job["model"], "CPU", INFERENCE_NUM_THREADS=job["threads"], NUM_STREAMS=1)

    def run(self):
        self.time({"tokens": [1], "generate": 1})

    def time(self, job):
        """Nanoseconds for reading the tokens, or for generating so many behind them."""
        config = self.genai.GenerationConfig(
            max_new_tokens=1 + job["generate"], ignore_eos=True, do_sample=False, apply_chat_template=False)
        ids = self.np.array([job["tokens"]], dtype=self.np.int64)
        given = self.genai.TokenizedInputs(self.tensor(ids), self.tensor(self.np.ones_like(ids)))
        begin = time.perf_counter_ns()
        raw = self.pipe.generate(given, config).perf_metrics.raw_metrics
        whole = time.perf_counter_ns() - begin
        if job["generate"] == 0:
            return whole
        # In microseconds, of every token but the first.
        steps = raw.m_durations[-job["generate"]:]
        if len(steps) != job["generate"]:
            raise NotAvailable(f"{len(steps)} tokens were generated, not {job['generate']}")
        return int(sum(steps) * 1000)


PEERS = {
    "onnxruntime": Onnxruntime, "openvino": Openvino, "ncnn": Ncnn, "tract": Tract, "openvino-genai": OpenvinoGenai}


class Server:
    def __init__(self):
        self.peer = None

    def load(self, job):
        np = need("numpy")
        arrays = {name: np.ascontiguousarray(np.load(path)) for name, path in job["inputs"]}
        self.peer = PEERS[job["peer"]](job, arrays)
        self.peer.run()
        return {"version": self.peer.version}

    def run(self, job):
        peer, clock, times = self.peer, time.perf_counter_ns, []
        for _ in range(job["calls"]):
            begin = clock()
            peer.run()
            times.append(clock() - begin)
        return {"ns": times}

    def time(self, job):
        return {"ns": self.peer.time(job)}

    def outputs(self, job):
        import numpy as np

        files = []
        for i, a in enumerate(self.peer.outputs()):
            files.append(os.path.join(job["dir"], f"output_{i}.npy"))
            np.save(files[-1], np.ascontiguousarray(a))
        return {"files": files}


def main():
    # Libraries print to standard output: answers go to a copy of it that they do not know.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server()
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = getattr(server, job["command"])(job)
        except NotAvailable as e:
            answer = {"unavailable": str(e)}
        except Exception as e:
            answer = {"unavailable": f"{type(e).__name__}: {e}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


main()
