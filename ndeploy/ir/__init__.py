"""The frozen data that flows through the compiler: Network, Program, RunResult."""
