// Package docs checks the documentation of this repository, the README and what is
// in docs/: that the code in it compiles, that its lines are not too long to be
// read, and that its links lead somewhere.
//
// A block of code that begins with "package" is a whole file. Any other is a part
// of one, declarations or statements, and needs no imports. What all blocks of a
// document take for granted stands in it in a comment that readers do not see:
//
//	<!-- go
//	var provider distributed.LeaseProvider
//	-->
package docs
