// The loops for AVX-512 F, BW, VL and DQ, 64-byte vectors.
#define STEPBACK_LOOPS kLoopsAvx512
#include "kernels/cpu/loops.inc"
