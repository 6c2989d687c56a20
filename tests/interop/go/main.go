package main

import (
	"context"
	"fmt"
	"os"
)

// Prints the account of a token.
func main() {
	verify, err := NewVerifier(context.Background())
	if err != nil {
		panic(err)
	}
	claims, err := verify(os.Args[1])
	if err != nil {
		fmt.Println("refused:", err)
		return
	}
	fmt.Println(claims["sub"])
}
