"""Boards: what executes programs elsewhere, behind the protocol of docs/board.md.

protocol.py    frames: a JSON header, raw bytes, a checksum; and the bounds on them
arrays.py      named integer arrays as raw bytes of fixed types
channel.py     frames over two file descriptors, with time limits
handshake.py   both sides prove that they know the token, without sending it
leases.py      who has the board, and who waits
desk.py        what all connections of a server share
session.py     the server's side of one connection
server.py      connections over TCP, or one over stdin and stdout
device.py      what a server puts on the wire
software.py    a board that computes with a runner
faults.py      the same board with seeded faults, cable.py a cable with faults: the test bench
child.py       a command that speaks the protocol over its stdin and stdout
relay.py       such a command as the device of a server
link.py        the client's side of one connection
credible.py    what a client believes of an answer
runner.py      the runner "board": leases, programs, streams, checks, retries
"""
