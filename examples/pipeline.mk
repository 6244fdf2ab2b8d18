# make -f pipeline.mk JAX=/jax: how well are digits read when the images are dimmed?
#
# Programs and results are files with times, so make compiles and runs what has changed, and nothing
# else; with -j the steps that do not wait for each other are on the devices together.
here := $(dir $(lastword $(MAKEFILE_LIST)))
JAX ?= /jax
DIM ?= 1 4 16 64
programs := $(JAX)/programs
results := $(JAX)/results
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: report

report: $(DIM:%=$(results)/classes_%)
	@for dim in $(DIM); do \
		tr ' ' '\n' < $(results)/classes_$$dim.txt | paste -d ' ' - $(here)digits/labels.txt | \
		awk -v dim=$$dim '$$1 == $$2 { right++ } \
			END { printf "dimmed %2d times: %d of %d digits right\n", dim, right, NR }'; \
	done

# compile: the network as it is, and for each of DIM a program that has the number inside
$(programs)/digits.jaxexport: $(here)digits/digits.jaxexport
	cp $< $@

$(programs)/dim_%.mlir: $(here)pipeline.mlir
	sed 's/DIM/$*.0/' $< > $@

# run: a call's result is there, with its size and time, as soon as the call is submitted
$(results)/dimmed_%: $(programs)/dim_%.mlir $(here)digits/images.npy
	rm -f $@
	cat $(here)digits/images.npy > $(programs)/dim_$*/calls/dimmed_$*

$(results)/classes_%: $(results)/dimmed_% $(programs)/digits.jaxexport
	rm -f $@
	cat $< > $(programs)/digits/calls/classes_$*
