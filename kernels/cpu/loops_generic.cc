// The loops for the baseline of the target machine: the reference for bits, exempt from speed (fmaf is a
// library call).
#define STEPBACK_LOOPS kLoopsGeneric
#include "kernels/cpu/loops.inc"
