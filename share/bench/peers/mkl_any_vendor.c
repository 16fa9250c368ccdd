// MKL picks its kernels by processor vendor before instruction set: elsewhere than on Intel's processors it runs AVX2
// code where AVX-512 would do. Preloaded, this answers its two questions with yes. For measuring peers at their best.
int mkl_serv_intel_cpu(void) { return 1; }
int mkl_serv_intel_cpu_true(void) { return 1; }
