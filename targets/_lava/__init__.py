"""The Lava backend: a Program executed by lava-nc 0.10.0 in a worker process.

plan.py         which Lava process stands for which population, projection and product, and why (numpy only)
parameters.py   the arguments Lava's own processes take, or the reason why they do not fit (numpy only)
rest.py         synapses that cost nothing while nothing is sent
schedule.py     chip steps of a run: offsets, periods, samples (numpy only)
operators.py    exact fast synapses for our own processes
partition.py    the fused mode's arithmetic: a whole Program, chip step by chip step, samples side by side
processes/      Lava processes and process models (this package alone imports Lava's process classes)
network.py      builds and runs the Lava network of a plan (worker side)
transport.py    Lava's messages between threads of the worker instead of between OS processes (worker side)
compatibility.py  imports Lava where its own packaging says it cannot be (worker side)
worker.py       the program that runs in the other interpreter
session.py      starts, watches and ends that program (our side)
runner.py       `run`, what `ndeploy run --runner lava` calls (our side)

On a Loihi (docs/loihi.md; untested on hardware):
loihi_plan.py     which of Lava's processes stands for which part on the chip, or why none does (numpy only)
loihi_runner.py   what `ndeploy run --runner loihi` calls (our side)
loihi_lease.py    one run at a time on a board (our side)
loihi_host.py     whether lava-loihi is there, and where the board is (worker side)
loihi_network.py  builds and runs the network on the chip (worker side)
loihi_readout.py  messages and states as they come from the chip, as traces (numpy only)
loihi_meter.py    the energy of a run, by Lava's profiler (worker side)
"""
