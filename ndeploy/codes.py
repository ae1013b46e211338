"""Every stable code, with the text `ndeploy explain CODE` prints.

1xx files and formats; 2xx networks and conversion; 3xx quantisation and ranges; 4xx targets and placement;
5xx data; 6xx runners and Lava; 7xx command line, environment, artifacts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A code's title and the long explanation."""

    title: str
    text: str


CODES: dict[str, Code] = {
    # -- 1xx files and formats -------------------------------------------------------------------------------------
    "ND101": Code("file not found", "The path given does not name a readable file."),
    "ND102": Code(
        "unknown format",
        "No converter recognises the file. A converter looks at the file's first bytes and at the names of its "
        "entries, never at its suffix alone. `ndeploy inspect` lists the families that are known.",
    ),
    "ND121": Code(
        "file cannot be read",
        "The file's first bytes name a known format, but the rest is truncated, damaged or of another format.",
    ),
    "ND122": Code(
        "checkpoint holds foreign objects",
        "A pickle can run code when it is loaded. ndeploy loads tensors, plain Python values, argparse.Namespace and "
        "numpy scalars and arrays, and refuses every other object by name. It never runs what a checkpoint holds.",
    ),
    "ND123": Code(
        "file too large",
        "The file, or what it unpacks to, is larger than any file of its kind has reason to be.",
    ),
    "ND124": Code(
        "no weights in the checkpoint",
        "The checkpoint holds no state dict: neither itself, nor under state_dict, model_state_dict, model or net.",
    ),
    "ND125": Code(
        "weights do not fit the family",
        "A tensor that the model family needs is missing, or its shape contradicts the others.",
    ),
    "ND126": Code(
        "bad sidecar file",
        "The JSON file beside the model (MODEL.json) is not an object of settings.",
    ),
    "ND131": Code(
        "bad NetX file", "The HDF5 file lacks what a lava-dl NetX network must have, or its shapes disagree."
    ),
    "ND132": Code(
        "NetX layer not supported",
        "The layer's or neuron's type has no integer model here, or lava-dl itself defines none for it.",
    ),
    "ND110": Code(
        "no HDF5 file, or a damaged one",
        "A NIR file is an HDF5 file with a group /node. This one cannot be opened or ends too early.",
    ),
    "ND111": Code(
        "file content refused",
        "Files are taken as coming from strangers: links that leave the file, loops of groups, data stored elsewhere, "
        "types other than numbers and text, and sizes beyond the bounds are refused.",
    ),
    "ND112": Code(
        "bad or missing field",
        "A node or graph in the file lacks a field, or the field has the wrong type, shape or value.",
    ),
    "ND113": Code(
        "unknown node type",
        "The file holds a node type that is neither one of NIR's 19 nor an extension (ndeploy.v1.*) known here.",
    ),
    # -- 2xx networks and conversion -------------------------------------------------------------------------------
    "ND201": Code(
        "operation not supported",
        "The network holds an operation that has no exact lowering to populations, projections and products.",
    ),
    "ND202": Code(
        "inconsistent network",
        "An edge names a node that does not exist, or two connected nodes disagree on a shape.",
    ),
    "ND203": Code(
        "linear operations without a neuron between them",
        "Two linear operations follow each other in a way that cannot be folded into one set of synapses.",
    ),
    "ND204": Code(
        "semantics not stated",
        "A file leaves open what changes the result: dt, integrator, reset, compare or steps. State them with --set, "
        "or name the framework that wrote the file with --set source=...; ndeploy never guesses in silence.",
    ),
    "ND205": Code(
        "unknown setting",
        "A key or value given with --set is not one that this format reads.",
    ),
    "ND206": Code(
        "delays cannot be balanced",
        "A loop without a delay of at least one model step: its values would depend on themselves.",
    ),
    "ND208": Code(
        "population added",
        "The program has a population that the network does not show: a relay, where a skip or a delay takes more chip "
        "steps than the target's synapses store; one that holds what is sent once a sample and used in every model "
        "step; or the changes and sums of sigma-delta coding. Values and timing are those of the network; neurons, "
        "messages and synaptic operations are placed and charged.",
    ),
    "ND207": Code(
        "time step does not fit the network",
        "dt, a time constant, a delay or a refractory time make no sensible step together: time constants must be "
        "positive and, with forward Euler, not shorter than dt; delays and refractory times must be whole numbers "
        "of dt. Norse 1.1 is known to write time constants multiplied by its dt (norse issue 411).",
    ),
    "ND209": Code(
        "configuration contradicts the weights",
        "A checkpoint's args, its sidecar file or --set state what the shapes of the tensors contradict: "
        "one of the two belongs to another model.",
    ),
    "ND210": Code(
        "nothing to delta-code",
        "Sigma-delta coding sends the changes of what a register feeds to weights. The network has no such register.",
    ),
    "ND211": Code(
        "no threshold within the budget",
        "Every threshold of sigma-delta coding that was tried loses more answers on calibration data than "
        "--accuracy-budget allows, so nothing is held back: the coding costs a population and saves nothing.",
    ),
    # -- 3xx quantisation and ranges -------------------------------------------------------------------------------
    "ND301": Code("value out of range", "A parameter does not fit the chip's integer width."),
    "ND302": Code(
        "arithmetic overflow",
        "A synaptic current or a membrane potential left its declared width while the program ran.",
    ),
    "ND303": Code(
        "range not proved",
        "Interval arithmetic cannot prove that a state variable stays inside its width for every input; calibration "
        "data did not exceed it. The simulator counts wraps and saturations at run time.",
    ),
    "ND304": Code("not finite", "A weight or parameter is NaN or infinite."),
    "ND305": Code("calibration data needed", "The input's range is not known without calibration data."),
    "ND306": Code(
        "budget cannot be met",
        "Even the cheapest choice of widths costs more than a budget allows, or no choice stays within the loss that "
        "is allowed. The message says the nearest budget that can be met.",
    ),
    "ND307": Code(
        "budget not understood",
        "A budget is a positive number, for memory, energy and operations with a unit or suffix if wanted: 3.5 (bits), "
        "64KiB, 64kB or 65536 (bytes), 20uJ, 1.5mJ or 2e-5 (joules a sample), 40M (bit operations a sample).",
    ),
    "ND308": Code(
        "steps cannot be chosen",
        "`--steps auto` and an energy budget try the network with fewer model steps. That needs a network whose steps "
        "are free: data that hold one value a sample, not a sequence, and a number of steps that is known.",
    ),
    "ND310": Code(
        "weights lie on no grid",
        "The method taken-over takes over weights that are whole multiples of a step, one for the layer or one for "
        "each of its channels or neurons, within the rounding of float32. These are not, or not with as few bits as "
        "the target stores.",
    ),
    "ND311": Code(
        "steps cannot be combined",
        "Each layer's weights lie on a grid, but a neuron sums, or a readout compares, values whose steps are no whole "
        "multiples of one another: no integer program holds all of them exactly.",
    ),
    "ND320": Code(
        "neuron kind cannot be trained",
        "Fine-tuning runs the integer program in PyTorch with gradients. The program has a neuron kind for which there "
        "is no such form; it can be compiled and run all the same.",
    ),
    "ND321": Code(
        "nothing to fine-tune on",
        "Fine-tuning needs labels that belong to the data, or outputs of the float network to imitate, and a first "
        "output that is decoded to an answer.",
    ),
    "ND322": Code(
        "fine-tuning diverged",
        "The loss became NaN or infinite. Nothing is returned: a lower rate, or the program as it was, is the remedy.",
    ),
    "ND323": Code(
        "bad fine-tuning options",
        "Epochs and batch are at least 1, the rate is positive and finite, and latents have the shapes of the weights.",
    ),
    # -- 4xx targets and placement ---------------------------------------------------------------------------------
    "ND401": Code("unknown target", "No file in targets/ and no installed plugin has this name."),
    "ND402": Code("does not fit", "A population or projection exceeds a limit of the target that cannot be split."),
    "ND403": Code("feature missing on target", "The program uses a feature that the target's neurocores lack."),
    "ND410": Code(
        "target data not usable",
        "A target's file lacks a number, or a number lacks its unit, source or status, or is negative. The message "
        "names the field; docs/targets.md describes each.",
    ),
    "ND411": Code(
        "value too wide for the target",
        "A weight, exponent, delay, threshold, bias, refractory period or message does not fit the chip's field.",
    ),
    "ND412": Code("too large for any system", "The program needs more chips than the target's largest system has."),
    "ND413": Code(
        "unknown way of placing",
        "Objectives are cores, traffic, latency and layers; methods are auto, greedy and cp-sat, which packs for "
        "cores.",
    ),
    "ND415": Code(
        "placement record not usable",
        "The placement kept in an artifact does not describe the artifact's program on its target: neurons stand "
        "twice or nowhere, or a core holds more than it can.",
    ),
    "ND416": Code(
        "solver not installed", "CP-SAT is part of the optional package ortools: pip install ndeploy[place]."
    ),
    "ND417": Code(
        "placed by rates that nobody measured",
        "Placing for traffic or latency weighs messages by how often neurons send. Without calibration data every "
        "neuron is taken to send equally often (a warning).",
    ),
    "ND420": Code(
        "limits not published",
        "Some limits of the chip are not public, so fitting them was not checked: the program is feasible for the "
        "model of the chip that the target's file describes, and its physical fit is not verified.",
    ),
    "ND430": Code(
        "counts do not belong to the program",
        "An energy estimate was asked for with event counts that name other populations and projections.",
    ),
    "ND431": Code(
        "no energy prices",
        "An energy budget was given, and nobody has published what an event costs on the target. `ndeploy targets "
        "show` lists the prices that a target has; its own file in targets/ is where they belong.",
    ),
    "ND432": Code(
        "price table not usable",
        "A file of prices lacks a constant or its source, has one that is negative, out of order or in a unit that "
        "cannot be read, names an event that nobody counts, or mixes all-in and incremental prices. The message names "
        "the file, the key and the value; docs/energy.md describes the format.",
    ),
    "ND433": Code(
        "unknown price table",
        "`--model` names no price table that is shipped, and no .toml file. `ndeploy targets prices` lists those that "
        "are.",
    ),
    "ND434": Code(
        "silent network",
        "No neuron sends anything on the data, so there is no activity to price: the data are all zero, or not those "
        "the network was trained for. As a warning: some populations are silent.",
    ),
    "ND470": Code(
        "no such published measurement",
        "`ndeploy validate --only NAME` takes a workload, as pilotnet-lif, or one of its figures, as "
        "pilotnet-lif/energy. `ndeploy validate --json` lists them all.",
    ),
    "ND471": Code(
        "not the network that was measured",
        "Published measurements are recomputed with lava-dl's own network files and frame. The file found in their "
        "place is of another kind or shape, so that a comparison would say nothing.",
    ),
    "ND435": Code(
        "frontier not usable",
        "The file of --frontier is not what `ndeploy sweep --json` or `ndeploy quantize --frontier --json` prints.",
    ),
    "ND460": Code(
        "too many combinations",
        "`ndeploy sweep` compiles and runs every combination of the values given; one command takes at most 512.",
    ),
    "ND461": Code(
        "steps that nothing would run",
        "`ndeploy sweep` was asked for a number of model steps, and the data hold sequences: a program runs as many "
        "steps as a sequence has, so every row would be the same. Leave out --steps, or sweep it on data with one "
        "value a sample.",
    ),
    # -- 5xx data --------------------------------------------------------------------------------------------------
    "ND501": Code("bad data file", "The data is not an .npz with an array `x`, or cannot be read."),
    "ND502": Code("data does not match the network", "The array's shape or type is not what the network takes."),
    "ND503": Code("empty data", "The data holds no samples: the first axis of x counts them and has length zero."),
    "ND505": Code(
        "sequences longer than compiled for",
        "A sequence in the data sets the model steps of a run. One longer than the program was compiled for is run all "
        "the same, but the ranges of its states were proved or calibrated for fewer steps.",
    ),
    "ND504": Code(
        "input values clipped",
        "Values of the data lie outside what the compiled input carries and were clipped to it (a warning).",
    ),
    "ND506": Code(
        "no such signal",
        "A per-tick comparison was asked for a signal that the program or the float side does not have. Signals are "
        "populations of the program named like nodes of the float network, or like arrays of the recorded trace.",
    ),
    "ND507": Code(
        "training without labels",
        "The file of --finetune holds no y. Training then imitates what the float network answers, its mistakes "
        "included (a warning).",
    ),
    "ND508": Code(
        "evaluated on calibration data",
        "`ndeploy quantize` was given one file for both: widths and rounding were chosen on the samples that then "
        "judge them, so the accuracies are better than they will be on other samples (a warning).",
    ),
    # -- 6xx runners and Lava --------------------------------------------------------------------------------------
    "ND601": Code("unknown runner", "Runners are sim, oracle, board, and what the files in targets/ bring: lava."),
    "ND602": Code("no such interpreter", "The interpreter named for the Lava worker is no executable Python."),
    "ND603": Code(
        "Lava is missing",
        "The interpreter of the Lava worker has no usable lava-nc 0.10.0, or is older than Python 3.10. It needs "
        "numpy, scipy and Lava, but not ndeploy; any interpreter will do, named with --lava-python.",
    ),
    "ND604": Code("Lava worker does not start", "The worker process ended before it had imported Lava."),
    "ND605": Code(
        "a Lava process model raised",
        "An exception inside a process model. Lava itself would log it and wait for ever; here the whole run is ended "
        "and the traceback is kept in the file that the message names.",
    ),
    "ND606": Code("Lava worker died", "The worker process ended while it ran, killed from outside or for memory."),
    "ND607": Code("Lava run took too long", "The run exceeded its time limit, or gave no sign of life."),
    "ND608": Code("unknown Lava option", "Lava modes are native and fused; transports are threads and processes."),
    "ND609": Code("not for Lava", "A value that Lava's 32-bit channels cannot carry."),
    "ND610": Code(
        "workers not understood",
        "A search runs in this process (1), in a number of local processes (2 or more), or on a dask cluster, given by "
        "its scheduler's address: tcp://host:port or tls://host:port.",
    ),
    "ND611": Code(
        "dask is missing",
        "A search on a dask cluster needs the package `distributed`, which ndeploy does not install by itself, on this "
        "machine and in every worker of the cluster, next to ndeploy.",
    ),
    "ND612": Code(
        "cluster cannot be reached",
        "No dask scheduler answers at the address given, or it has no workers. What the journal holds is kept.",
    ),
    "ND613": Code(
        "search worker failed",
        "A process that measures for a search died, or could not be given its work. What had been measured is in the "
        "journal, if there is one: the same command goes on from there.",
    ),
    "ND620": Code(
        "board cannot be reached",
        "Nothing answers at the address of the board, the command that serves it does not start, or what answers "
        "closes the connection. Nothing is said of the model.",
    ),
    "ND621": Code(
        "no address of a board",
        "A board is named with --board or NDEPLOY_BOARD: tcp://HOST:PORT of `ndeploy board serve`, or exec:COMMAND, a "
        "command that speaks the protocol of docs/board.md over its stdin and stdout.",
    ),
    "ND622": Code(
        "not the board's token",
        "Client and board prove to each other that they know one token, NDEPLOY_BOARD_TOKEN on both sides. They do "
        "not know the same one. The token itself is never sent.",
    ),
    "ND623": Code(
        "board is busy",
        "A board is lent to one client at a time. The queue is full, or the time that this client would wait is over.",
    ),
    "ND624": Code(
        "board stopped answering",
        "The connection ended, or no sign of life came in time. The samples were tried again as often as allowed.",
    ),
    "ND625": Code(
        "board broke the protocol",
        "What came is no frame, fails its checksum, or does not have the names and shapes of the program.",
    ),
    "ND626": Code(
        "board does not hold or carry what it was given",
        "The memory that the board read back is not the program, or its digests of what it received and sent are not "
        "those of what was sent and received. The result was thrown away: it says nothing of the model.",
    ),
    "ND627": Code(
        "board contradicts itself",
        "A counter or the power meter shows what cannot be: other spikes than the messages that came, other synaptic "
        "operations than those messages cause, an energy below zero or beyond what the board can draw.",
    ),
    "ND628": Code(
        "lease ended",
        "The board took the lease back: the client had it for too long while others waited, was silent for too long, "
        "or the server is closing.",
    ),
    "ND629": Code(
        "refused by the board",
        "The board's runner refuses the program or its data for a reason that this version of ndeploy does not know, "
        "or the board lacks what a run needs.",
    ),
    "ND630": Code(
        "board reports a fault",
        "The board says of itself that it failed: it hung and was ended, it lost its program, or its runner broke.",
    ),
    "ND631": Code(
        "board server cannot start",
        "The address cannot be listened on, the token is too short or cannot be read, or the board's command does not "
        "start.",
    ),
    "ND632": Code(
        "faults not understood",
        "`ndeploy board serve --inject` takes kinds of faults with their probability a request: flip=0.1,hang=0.05 "
        "and seed=N.",
    ),
    "ND633": Code(
        "too large for the board",
        "The board's server takes artifacts and samples up to a limit of its own, and one of them is larger.",
    ),
    "ND634": Code(
        "the modelled meter cannot follow",
        "The energy meter of a board in software is a model: it needs a runner that tells its activity, and a target "
        "with prices (`ndeploy board serve --meter`).",
    ),
    "ND635": Code(
        "no energy meter",
        "`ndeploy energy --runner board` holds a board's meter beside the estimate, and this board has none.",
    ),
    "ND636": Code(
        "outside the estimate",
        "The energy that a board's meter shows lies outside the bounds of the estimate for the same samples.",
    ),
    "ND637": Code(
        "other messages than estimated",
        "The board sent other numbers of messages than the simulator that the estimate is of: its energy is that of "
        "other work.",
    ),
    "ND650": Code(
        "nothing to compare",
        "The two sides of `ndeploy compare` have no layer of one name and shape, or other model steps: no value of one "
        "stands beside a value of the other.",
    ),
    "ND651": Code(
        "scale of an artifact is no number",
        "A population's or projection's scale, which says what one unit is worth in real values, is zero or not "
        "finite: the program cannot be set beside the float network.",
    ),
    "ND652": Code(
        "trace of another program",
        "A recorded run lacks a population or state variable of the program, has another shape, or fewer samples.",
    ),
    "ND653": Code(
        "cannot be compiled again",
        "`ndeploy compare --against compile` compiles the network that the artifact keeps with the options it records. "
        "It cannot where the network or the calibration data are missing, where weights were trained, and where widths "
        "were searched for.",
    ),
    "ND654": Code(
        "not the artifact's calibration data",
        "The file given as --calibration has another digest than the one the artifact was compiled with: a compile "
        "with it says nothing about the artifact.",
    ),
    "ND660": Code(
        "suite not usable",
        "The file of `ndeploy test --suite` is not TOML of schema ndeploy.suite/1, or says something that no case can "
        "mean. The message names the case, the key and the value; docs/testing.md describes the format.",
    ),
    "ND661": Code(
        "baseline not usable",
        "The file beside a suite that holds what was measured and reviewed is damaged or another kind of file. ndeploy "
        "writes over no file that it did not write itself.",
    ),
    "ND662": Code(
        "no suite",
        "Without --suite, `ndeploy test` deploys the trained networks of ndeploy's repository. An installed package "
        "does not hold them.",
    ),
    "ND663": Code(
        "history not usable",
        "The file of --history is no SQLite file that `ndeploy test` has written, or another process holds it.",
    ),
    "ND664": Code(
        "no such faults",
        "--inject takes bits=N (bits of stored weights that flip) or stuck=N (leaky integrate-and-fire neurons that "
        "are silent or fire at every step), with ,seed=S for other draws. A network may have fewer places than faults.",
    ),
    "ND665": Code(
        "board computes something else",
        "A program of 23 neurons whose every message and state is known runs on a board whose case failed, and after a "
        "quarantine. What the board answered is not that.",
    ),
    "ND666": Code(
        "no board is left",
        "Every board of the rack is in quarantine or given up, and none of them came back: cases that were not "
        "measured are errors of the boards.",
    ),
    "ND667": Code(
        "worker of a suite died",
        "The process that measured a case was killed, ran out of memory or crashed. The case is tried once more in a "
        "new process; this is what is said when that one ends too.",
    ),
    "ND668": Code(
        "folder for locks",
        "Who uses a board that is a command holds a lock on a file, in a folder of the user's own, mode 0700, in "
        "/var/tmp. The folder cannot be made, or is another user's.",
    ),
    "ND669": Code(
        "too many boards",
        "`ndeploy test` takes several boards, each named once; every other command takes one.",
    ),
    "ND670": Code(
        "no worker of that kind on the cluster",
        'Cases on boards need a dask worker with a board (`--resources "board=1"`, and the board\'s address in its '
        "NDEPLOY_BOARD); other cases need a thread of a worker that is not a board's.",
    ),
    "ND671": Code(
        "another ndeploy on the cluster",
        "The workers that measure for a suite have no ndeploy, another version, or other files of the same version: "
        "they would test another toolchain. The same has to be installed on all machines.",
    ),
    "ND672": Code(
        "worker does not see the suite's files",
        "Workers of a cluster read models and data themselves, at the path that the client reads. A worker found no "
        "file there, or one with other contents.",
    ),
    "ND673": Code(
        "worker without a board of its own",
        "A dask worker that was started with the resource board has to have exactly one board, board=1, whose address "
        "is in its NDEPLOY_BOARD and in that of no other worker.",
    ),
    "ND675": Code(
        "lava-loihi is missing",
        "The interpreter of the Lava worker has Lava but not its extension for Loihi, which Intel gives to members of "
        "its Neuromorphic Research Community. Name the interpreter that has both with --lava-python; docs/loihi.md.",
    ),
    "ND676": Code(
        "not for a Loihi",
        "Parts of the program have no process on the chip: neurons and products that Lava does not have, model steps "
        "of several chip steps, populations that stop or would act before their first model step, biases of the "
        "current, messages of more than 24 bits; or lava-loihi has no chip model for a process. Nothing is computed on "
        "the host instead. `ndeploy verify --against loihi` lists every part with its process.",
    ),
    "ND677": Code(
        "Loihi not free",
        "Another run of this user on this machine has the board, and had it for as long as this one was to wait; or "
        "the folder of the locks is not this user's alone.",
    ),
    "ND678": Code(
        "Loihi failed",
        "Lava could not be told of the board, or the board, lava-loihi or the worker that drives it failed or fell "
        "silent while a program ran. The traceback is in the file that the message names.",
    ),
    "ND679": Code(
        "setting of the Loihi not understood",
        "NDEPLOY_LOIHI_STEPS is a pair of chip steps, IN,OUT; NDEPLOY_LOIHI_POWER is on or off; LOIHI_GEN is a "
        "generation of Loihi 2.",
    ),
    "ND690": Code("time limit", "The time given with --time-limit passed before every sample had run."),
    "ND691": Code(
        "incomplete trace", "A runner did not answer with every population and state variable of the program."
    ),
    # -- 7xx command line, environment, artifacts ------------------------------------------------------------------
    "ND701": Code("bad artifact", "The file is not an ndeploy artifact, or it is damaged."),
    "ND702": Code("cannot write", "The output could not be written; nothing was left half-written."),
    "ND703": Code("plugin cannot be loaded", "A file in a plugin folder or an entry point failed to import."),
    "ND704": Code(
        "artifact of a newer version",
        "The artifact's format is newer than this ndeploy reads. Upgrade, or compile the model again.",
    ),
    "ND705": Code(
        "artifact changed after it was written",
        "The manifest records the sha256 of every other entry, and an entry no longer has it.",
    ),
    "ND706": Code("unknown code", "`ndeploy explain` was asked for a code that ndeploy does not have."),
    "ND707": Code(
        "not enough memory",
        "The work needs more memory than this machine gives: run fewer samples at once, no traces, or fewer steps.",
    ),
    "ND708": Code(
        "no certainty to stop at",
        "`run --stop-certainty` ends a sample at the first tick whose certainty is high enough. Only networks that "
        "answer at their most certain tick (Continuous Thought Machines) have such a certainty; the answers of others "
        "are read over all model steps.",
    ),
    "ND709": Code(
        "no float network in the artifact",
        "`verify --against float` runs the float network that the artifact was compiled from. This artifact does not "
        "keep it.",
    ),
    "ND710": Code(
        "journal cannot be used",
        "The file that keeps what a search has measured cannot be read or written, or is another kind of file. ndeploy "
        "writes over no file that it did not write itself.",
    ),
    "ND711": Code(
        "journal in use",
        "Another search is writing the same journal: two at a time would mix what they measure.",
    ),
    "ND720": Code(
        "norse is missing",
        "Fine-tuning takes its surrogate gradients from norse, which is not installed with ndeploy: norse asks for "
        "torchvision, which would replace torch, so it is installed without its dependencies.",
    ),
    "ND799": Code(
        "internal error",
        "ndeploy met a situation its authors did not foresee: a defect of ndeploy, not of your input. Run the command "
        "again with --debug (or NDEPLOY_DEBUG=1) and report the traceback with the command and, if you may, the file.",
    ),
}
