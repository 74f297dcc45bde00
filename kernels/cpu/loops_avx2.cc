// The loops for AVX2 and FMA.
#define STEPBACK_LOOPS kLoopsAvx2
#include "kernels/cpu/loops.inc"
