"""What a pickle's globals are: names that only describe data, or names that can run code.

The reader imports and calls none of them, so whatever a pickle names, reading it is safe. But another reader
would call them. A file that names what can run code is refused, whether it calls it or not.

The line: of Python's standard library, of torch and of numpy only the names that describe data pass; all
others are refused, known as dangerous or not. Names of other packages and of the author's own modules pass,
unless the package exists to run code, to unpickle or to reach the network, or the name is that of a function
that runs code. The name of a class that passes stays a name.
"""

from __future__ import annotations

import re
import sys

NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)

STANDARD = sys.stdlib_module_names | {
    "test", "distutils", "imp", "lib2to3", "idlelib", "asyncore", "asynchat", "smtpd", "pipes", "telnetlib",
    "cgi", "commands", "popen2", "cPickle", "cStringIO", "StringIO", "urllib2", "httplib", "exceptions",
    "__builtin__", "copy_reg", "UserDict", "UserList", "UserString", "xmlrpclib", "anydbm", "dbhash",
}  # fmt: skip
"""The standard library, with modules of other versions of Python."""

DATA = re.compile(
    r"""
    collections\.(OrderedDict|Counter|defaultdict|deque|ChainMap|UserDict|UserList)
  | (builtins|__builtin__|exceptions)\.(set|frozenset|bytearray|bytes|str|unicode|int|long|float|bool|complex
        |list|dict|tuple|range|xrange|slice|object|NoneType|Ellipsis|NotImplemented|\w+Error|\w*Exception|\w+Warning
        |KeyboardInterrupt|StopIteration)
  | (copyreg|copy_reg)\.(_reconstructor|__newobj__)
  | _codecs\.encode
  | argparse\.Namespace
  | types\.(SimpleNamespace|NoneType)
  | typing\.[A-Z]\w*
  | (datetime|_pydatetime)\.(datetime|date|time|timedelta|timezone)
  | zoneinfo\.ZoneInfo(\._unpickle)?
  | (pathlib|pathlib\._local)\.(Pure)?(Posix|Windows)?Path
  | (decimal|_decimal|_pydecimal)\.Decimal | fractions\.Fraction | uuid\.(UUID|SafeUUID)
  | (random|_random)\.Random | functools\.partial | re\._compile | re\.RegexFlag
  | enum\.[A-Z]\w* | numbers\.[A-Z]\w* | logging\.(Logger|RootLogger|getLogger)
  | array\._array_reconstructor | array\.array

  | torch\.(Size|device|dtype|Tensor|Generator|per_(tensor|channel)_\w+|strided|sparse_\w+|\w+_format
        |channels_last(_3d)?|\w*Storage|(cuda|sparse)\.\w+(Storage|Tensor))
  | torch\.(quint4x2|quint2x4|qint8|quint8|qint32|float8_\w+|float4_\w+|u?int\d+|complex\d+|bits\w+)
  | torch\._utils\._rebuild_\w+
  | torch\._tensor\._rebuild_from_type(_v2)?
  | torch\.(_tensor|tensor)\.Tensor
  | torch\.storage\.\w*(Typed|Untyped)Storage
  | torch\.serialization\._get_layout
  | torch\.torch_version\.TorchVersion
  | torch\._dynamo\.eval_frame\.OptimizedModule
  | torch\.(nn|optim|distributions|amp|cuda\.amp|ao|quantization
        |distributed\.(tensor|_tensor|_shard|fsdp|device_mesh|_composable)
        |utils\.data\.(dataset|dataloader|sampler|distributed))\.(\w+\.)*_*[A-Z]\w*
  | torch\.nn\.functional\.[a-z]\w* | torch\._C\._nn\.\w+

  | numpy\.(ndarray|dtype|matrix|recarray|(u?int|float|complex|bool|str|bytes|object|void|datetime|timedelta
        |longdouble|clongdouble|half|single|double)\w*)
  | numpy\.(core|_core)\.multiarray\.(_reconstruct|scalar|ndarray|dtype)
  | numpy\.(core|_core)\.numeric\._frombuffer
  | numpy\.(core|_core)\.records\.(recarray|record) | numpy\.rec\.(recarray|record)
  | numpy\.dtypes\.\w+ | numpy\.dtype\[\w+\]
  | numpy\.ma\.(core\.)?(_mareconstruct|MaskedArray)
  | numpy\.random\.(_pickle\.__\w+_ctor|mtrand\.RandomState|_generator\.Generator
        |_(mt19937|pcg64|philox|sfc64)\.\w+|bit_generator\.\w+)
    """,
    re.VERBOSE | re.ASCII,
)
"""The names of the standard library, of torch and of numpy that only describe data."""

GIVEN_AWAY = STANDARD | {"torch", "numpy"}
"""The packages of which only `DATA` passes."""

RUNS_CODE = {
    "pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel", "dill", "cloudpickle", "joblib",
    "jsonpickle", "IPython", "ipykernel", "jupyter_client", "pexpect", "ptyprocess", "sh", "plumbum",
    "invoke", "fabric", "paramiko", "requests", "urllib3", "httpx", "aiohttp", "websockets", "boto3",
    "botocore", "s3fs", "fsspec", "gdown", "wget", "git", "nltk", "keras", "tensorflow", "numexpr", "mako",
    "jinja2", "yaml", "cffi", "Cython", "cython", "pyximport", "numba", "llvmlite", "triton", "pyspark",
    "theano", "aesara", "pytensor", "psutil", "docker", "win32com", "win32api", "pytest", "_pytest", "nose",
    "tvm",
}  # fmt: skip
"""Packages that exist to run code or programs, to unpickle, or to reach the network."""

FUNCTIONS = re.compile(
    r"eval|exec|execfile|execute|system|popen\w*|Popen|spawn\w*|exec[lv]p?e?|startfile|__\w+__|_?import\w*"
    r"|import_\w+|getoutput|getstatusoutput|check_(?:output|call)|run_?(?:string|path|module|code|command)"
    r"|loads|load_module|exec_module|(?:read|load|un)_?pickle\w*|load_state_dict_from_url|attrgetter"
    r"|methodcaller|getattr|setattr|delattr|compile|open|load_ipython_extension"
    r"|load|instantiate|sympify|parse_expr|lambdify|from_pretrained|pipeline|\w*download\w*|\w*dynamic_module\w*"
)
"""Names of functions that run code, whichever package they are in."""

MODULES = {
    "os", "sys", "subprocess", "posix", "nt", "shutil", "socket", "ctypes", "importlib", "builtins", "pickle",
    "__builtin__", "runpy", "pty", "marshal",
}  # fmt: skip
"""Modules that must not be reached through another one, as in ``package.os``."""

MEMBER = {"builtins.getattr", "__builtin__.getattr"}
"""Python 3.11 stores the member of an enumeration as ``getattr(Class, "NAME")``."""


def why_refused(name: str) -> str | None:
    """Return why a pickle that names this global is refused, None if it only describes data.

    >>> why_refused("argparse.Namespace"), why_refused("my_lab.config.Settings")
    (None, None)
    >>> why_refused("os.system")
    'it is none of the data types of the standard library'
    >>> why_refused("my_lab.os.system")
    'it leads to the module os'
    """
    if DATA.fullmatch(name) or name in MEMBER:
        return None
    root, *rest = name.split(".")
    if root in GIVEN_AWAY:
        kind = "the standard library" if root in STANDARD else root
        return f"it is none of the data types of {kind}"
    if root in RUNS_CODE:
        return f"{root} is a package that runs code, unpickles or downloads"
    if led := MODULES.intersection(rest):
        return f"it leads to the module {min(led)}"
    if not NAME.fullmatch(name):
        return "it is no proper name"
    if FUNCTIONS.fullmatch(rest[-1] if rest else root):
        return "it is the name of a function that runs code"
    if any(part.startswith("__") for part in rest):
        return "it leads to what is private to Python"
    return None
