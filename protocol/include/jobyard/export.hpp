#pragma once
// What a program that uses the libraries may call. Everything else in them is hidden, so that it can change.

#define JOBYARD_API __attribute__((visibility("default")))
/// For what stands inside a class that is JOBYARD_API and is not for users.
#define JOBYARD_HIDDEN __attribute__((visibility("hidden")))
